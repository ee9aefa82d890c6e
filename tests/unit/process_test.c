#include "net/loop.h"
#include "net/process.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

typedef struct outcome {
    int calls, exit_code, signal;
    bool timed_out, failed;
    sp_buf out, err;
    sp_err why;
} outcome;

static void ended(void *ctx, const sp_process_result *r, const sp_err *err) {
    outcome *o = ctx;
    o->calls++;
    o->failed = err != NULL;
    if (err) {
        o->why = *err;
        return;
    }
    o->exit_code = r->exit_code;
    o->signal = r->signal;
    o->timed_out = r->timed_out;
    sp_buf_add(&o->out, r->out);
    sp_buf_add(&o->err, r->err);
}

static outcome run(const char *const *argv, const char *input, uint32_t timeout_ms, size_t max) {
    uv_loop_t loop;
    uv_loop_init(&loop);
    outcome o = {0};
    sp_process_params p = {.argv = argv,
                           .input = sp_str_z(input),
                           .timeout_ms = timeout_ms,
                           .max_output = max,
                           .done = ended,
                           .ctx = &o};
    sp_process_run(&loop, &p);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
    assert_int_equal(o.calls, 1);
    return o;
}

static void forget(outcome *o) {
    sp_buf_free(&o->out);
    sp_buf_free(&o->err);
}

static void output_and_exit_code_come_back(void **state) {
    (void)state;
    outcome o = run((const char *[]){"sh", "-c", "cat; echo oops >&2; exit 3", NULL}, "in", 0, 0);
    assert_string_equal(sp_buf_z(&o.out), "in");
    assert_string_equal(sp_buf_z(&o.err), "oops\n");
    assert_int_equal(o.exit_code, 3);
    assert_int_equal(o.signal, 0);
    forget(&o);
}

static void output_is_cut_but_read_to_the_end(void **state) {
    (void)state;
    outcome o =
        run((const char *[]){"sh", "-c", "head -c 1000000 /dev/zero; exit 0", NULL}, "", 0, 10);
    assert_int_equal(o.out.n, 10);
    assert_int_equal(o.exit_code, 0);
    forget(&o);
}

static void the_deadline_kills_the_whole_session(void **state) {
    (void)state;
    outcome o = run((const char *[]){"sh", "-c", "sleep 100 & sleep 100", NULL}, "", 50, 0);
    assert_true(o.timed_out);
    assert_int_equal(o.signal, SIGKILL);
    assert_int_equal(o.exit_code, -1);
    forget(&o);
}

static void a_missing_program_is_named(void **state) {
    (void)state;
    outcome o = run((const char *[]){"sampan-no-such-program", NULL}, "", 0, 0);
    assert_true(o.failed);
    assert_non_null(strstr(o.why.text, "sampan-no-such-program"));
    forget(&o);
}

static void a_daemon_on_the_pipe_does_not_hold_us(void **state) {
    (void)state;
    outcome o = run((const char *[]){"sh", "-c", "setsid sleep 3 & echo up", NULL}, "", 0, 0);
    assert_string_equal(sp_buf_z(&o.out), "up\n");
    assert_int_equal(o.exit_code, 0);
    forget(&o);
}

/* As keepalived and a kubelet give them: a shell's redirections work, and bash is not told that it
 * is rshd's, which makes it run ~/.bashrc. */
static void what_a_child_gets_are_pipes(void **state) {
    (void)state;
    outcome o = run(
        (const char *[]){
            "sh", "-c", "echo a >/dev/stdout; echo b >/dev/stderr; readlink /proc/self/fd/0", NULL},
        "", 0, 0);
    assert_string_equal(sp_buf_z(&o.out), "a\n/dev/null\n");
    assert_string_equal(sp_buf_z(&o.err), "b\n");
    forget(&o);
    for (int i = 0; i < 2; i++) {
        o = run(
            (const char *[]){
                "sh", "-c",
                "d=$(mktemp -d); echo 'echo read' >$d/.bashrc; unset SHLVL BASH_ENV SSH_CLIENT;"
                "HOME=$d bash -c 'echo done'; rm -r $d",
                NULL},
            i ? "input" : "", 0, 0);
        assert_string_equal(sp_buf_z(&o.out), "done\n");
        forget(&o);
    }
}

static void input_that_nobody_reads_is_no_error(void **state) {
    (void)state;
    static char much[1 << 20];
    memset(much, 'x', sizeof much - 1);
    signal(SIGPIPE, SIG_IGN);
    outcome o = run((const char *[]){"true", NULL}, much, 0, 0);
    assert_int_equal(o.exit_code, 0);
    forget(&o);
}

static void tick(void *ctx) {
    ++*(int *)ctx;
}

static void resolved(void *ctx, const struct sockaddr_storage *a, size_t n, const sp_err *err) {
    char *to = ctx;
    assert_null(err);
    assert_true(n > 0);
    sp_addr_print((const struct sockaddr *)a, to, 64);
}

static void timers_and_lookups_run_and_stop(void **state) {
    (void)state;
    uv_loop_t loop;
    uv_loop_init(&loop);
    int once = 0, never = 0;
    char addr[64] = "", v6[64] = "";
    sp_timer_start(&loop, 1, tick, &once);
    sp_timer *t = sp_timer_every(&loop, 1, tick, &never);
    sp_timer_stop(t);
    sp_resolve_start(&loop, "127.0.0.1", 80, resolved, addr);
    sp_resolve_start(&loop, "::1", 81, resolved, v6);
    sp_resolve_cancel(sp_resolve_start(&loop, "127.0.0.1", 80, resolved, NULL));
    assert_string_equal(addr, "");
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
    assert_int_equal(once, 1);
    assert_int_equal(never, 0);
    assert_string_equal(addr, "127.0.0.1:80");
    assert_string_equal(v6, "[::1]:81");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(output_and_exit_code_come_back),
        cmocka_unit_test(output_is_cut_but_read_to_the_end),
        cmocka_unit_test(the_deadline_kills_the_whole_session),
        cmocka_unit_test(a_missing_program_is_named),
        cmocka_unit_test(a_daemon_on_the_pipe_does_not_hold_us),
        cmocka_unit_test(what_a_child_gets_are_pipes),
        cmocka_unit_test(input_that_nobody_reads_is_no_error),
        cmocka_unit_test(timers_and_lookups_run_and_stop),
    };
    return cmocka_run_group_tests_name("process", tests, NULL, NULL);
}
