/* Calendar arithmetic on the proleptic Gregorian calendar, done here rather than by libc: no time
 * zone database, no locale, no environment, and the same answer on every thread. */
#include "data/time.h"

#include <inttypes.h>
#include <stdio.h>

enum { MS_PER_SECOND = 1000, US_PER_SECOND = 1000000, SECONDS_PER_DAY = 86400 };

typedef struct civil {
    int64_t year;
    int month, day; /* from 1 */
} civil;

static int64_t floor_div(int64_t a, int64_t b) {
    return a / b - (a % b < 0);
}

/* Years are counted from March, so that the leap day is the last day of its year, in eras of 400
 * years, which all have the same number of days. */
enum { DAYS_PER_ERA = 146097, DAYS_TO_1970 = 719468 };

static civil civil_from_days(int64_t days) {
    days += DAYS_TO_1970;
    int64_t era = floor_div(days, DAYS_PER_ERA);
    int doe = (int)(days - era * DAYS_PER_ERA);
    int yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    int doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    int mp = (5 * doy + 2) / 153;
    civil c = {.year = era * 400 + yoe, .day = doy - (153 * mp + 2) / 5 + 1};
    c.month = mp < 10 ? mp + 3 : mp - 9;
    if (c.month <= 2) c.year++;
    return c;
}

static int64_t days_from_civil(civil c) {
    int64_t year = c.year - (c.month <= 2);
    int64_t era = floor_div(year, 400);
    int64_t yoe = year - era * 400;
    int64_t doy = (153 * (c.month > 2 ? c.month - 3 : c.month + 9) + 2) / 5 + c.day - 1;
    return era * DAYS_PER_ERA + yoe * 365 + yoe / 4 - yoe / 100 + doy - DAYS_TO_1970;
}

/* fraction < 0: none. */
static void format_seconds(int64_t seconds, int64_t fraction_us, char *ret) {
    int64_t days = floor_div(seconds, SECONDS_PER_DAY);
    int64_t rest = seconds - days * SECONDS_PER_DAY;
    civil c = civil_from_days(days);
    int n = snprintf(ret, SP_TIME_MAX, "%04" PRId64 "-%02d-%02dT%02d:%02d:%02d", c.year, c.month,
                     c.day, (int)(rest / 3600), (int)(rest / 60 % 60), (int)(rest % 60));
    if (fraction_us < 0)
        snprintf(ret + n, SP_TIME_MAX - (size_t)n, "Z");
    else
        snprintf(ret + n, SP_TIME_MAX - (size_t)n, ".%06dZ", (int)fraction_us);
}

void sp_time_format(int64_t wall_ms, char ret[SP_TIME_MAX]) {
    format_seconds(floor_div(wall_ms, MS_PER_SECOND), -1, ret);
}

void sp_time_format_micro(int64_t wall_us, char ret[SP_TIME_MAX]) {
    int64_t seconds = floor_div(wall_us, US_PER_SECOND);
    format_seconds(seconds, wall_us - seconds * US_PER_SECOND, ret);
}

sp_json *sp_json_new_time(sp_arena *a, int64_t wall_ms) {
    char text[SP_TIME_MAX];
    sp_time_format(wall_ms, text);
    return sp_json_new_z(a, text);
}

/* Exactly `count` digits off the front. */
static bool take_digits(sp_str *s, size_t count, int *ret) {
    int v = 0;
    if (s->n < count) return false;
    for (size_t i = 0; i < count; i++) {
        if (s->p[i] < '0' || s->p[i] > '9') return false;
        v = v * 10 + (s->p[i] - '0');
    }
    *s = sp_str_from(*s, count);
    *ret = v;
    return true;
}

static bool take_any(sp_str *s, const char *set, char *ret) {
    if (!s->n || !s->p[0] || !strchr(set, s->p[0])) return false;
    *ret = s->p[0];
    *s = sp_str_from(*s, 1);
    return true;
}

static bool take_two(sp_str *s, const char *before, int max, int *ret) {
    char c;
    return (!before || take_any(s, before, &c)) && take_digits(s, 2, ret) && *ret <= max;
}

static bool take_fraction_ms(sp_str *s, int *ret_ms) {
    char dot;
    *ret_ms = 0;
    if (!take_any(s, ".", &dot)) return true;
    size_t n = 0;
    for (int weight = 100; n < s->n && s->p[n] >= '0' && s->p[n] <= '9'; n++, weight /= 10)
        *ret_ms += (s->p[n] - '0') * weight;
    *s = sp_str_from(*s, n);
    return n > 0;
}

static bool take_offset(sp_str *s, int64_t *ret_seconds) {
    char c;
    int hours, minutes;
    if (!take_any(s, "Zz+-", &c)) return false;
    *ret_seconds = 0;
    if (c == 'Z' || c == 'z') return true;
    if (!take_two(s, NULL, 23, &hours) || !take_two(s, ":", 59, &minutes)) return false;
    *ret_seconds = (hours * 3600 + minutes * 60) * (c == '-' ? -1 : 1);
    return true;
}

static int days_in_month(int64_t year, int month) {
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    return days[month - 1] + (month == 2 && leap);
}

bool sp_time_parse(sp_str s, int64_t *ret_wall_ms) {
    int year, month, day, hour, minute, second, ms;
    int64_t offset;
    char c;
    if (!take_digits(&s, 4, &year) || !take_two(&s, "-", 12, &month) || month < 1) return false;
    if (!take_two(&s, "-", days_in_month(year, month), &day) || day < 1) return false;
    if (!take_any(&s, "Tt", &c) || !take_two(&s, NULL, 23, &hour)) return false;
    if (!take_two(&s, ":", 59, &minute) || !take_two(&s, ":", 59, &second)) return false;
    if (!take_fraction_ms(&s, &ms) || !take_offset(&s, &offset) || s.n) return false;
    int64_t days = days_from_civil((civil){year, month, day});
    int64_t seconds = days * SECONDS_PER_DAY + hour * 3600 + minute * 60 + second - offset;
    *ret_wall_ms = seconds * MS_PER_SECOND + ms;
    return true;
}

/* ---------- durations ---------- */

/* Rows are tried in order: below `limit` seconds the age is shown in `unit`, with what is left in
 * `rest` when that is given and not zero. The steps are kubectl's. */
static const struct {
    int64_t limit, unit, rest;
    char unit_name, rest_name;
} ages[] = {
    {120, 1, 0, 's', 0},
    {600, 60, 1, 'm', 's'},
    {3 * 3600, 60, 0, 'm', 0},
    {8 * 3600, 3600, 60, 'h', 'm'},
    {48 * 3600, 3600, 0, 'h', 0},
    {8 * SECONDS_PER_DAY, SECONDS_PER_DAY, 3600, 'd', 'h'},
    {730 * SECONDS_PER_DAY, SECONDS_PER_DAY, 0, 'd', 0},
    {INT64_C(2920) * SECONDS_PER_DAY, 365 * SECONDS_PER_DAY, SECONDS_PER_DAY, 'y', 'd'},
    {INT64_MAX, 365 * SECONDS_PER_DAY, 0, 'y', 0},
};

void sp_duration_human(int64_t ms, char ret[SP_TIME_MAX]) {
    int64_t s = ms / MS_PER_SECOND;
    if (s < -1) {
        snprintf(ret, SP_TIME_MAX, "<invalid>");
        return;
    }
    s = SP_MAX(s, 0);
    size_t i = 0;
    while (s >= ages[i].limit) i++;
    int64_t rest = ages[i].rest ? s % ages[i].unit / ages[i].rest : 0;
    int n = snprintf(ret, SP_TIME_MAX, "%" PRId64 "%c", s / ages[i].unit, ages[i].unit_name);
    if (rest) snprintf(ret + n, SP_TIME_MAX - (size_t)n, "%" PRId64 "%c", rest, ages[i].rest_name);
}

static const struct {
    sp_str name;
    int64_t ns;
} duration_units[] = {
    {SP_STR_INIT("ns"), 1},
    {SP_STR_INIT("us"), 1000},
    {SP_STR_INIT("\xc2\xb5s"), 1000}, /* micro sign */
    {SP_STR_INIT("\xce\xbcs"), 1000}, /* Greek mu */
    {SP_STR_INIT("ms"), 1000000},
    {SP_STR_INIT("s"), 1000000000},
    {SP_STR_INIT("m"), 60 * INT64_C(1000000000)},
    {SP_STR_INIT("h"), 3600 * INT64_C(1000000000)},
};

static bool take_unit(sp_str *s, int64_t *ret_ns) {
    size_t n = 0;
    while (n < s->n && s->p[n] != '.' && (s->p[n] < '0' || s->p[n] > '9')) n++;
    for (size_t i = 0; i < SP_COUNT(duration_units); i++)
        if (sp_str_eq(sp_str_sub(*s, 0, n), duration_units[i].name)) {
            *s = sp_str_from(*s, n);
            *ret_ns = duration_units[i].ns;
            return true;
        }
    return false;
}

/* One "1.5h". Digits of the fraction past the 18th weigh less than a nanosecond in any unit. */
static bool take_span(sp_str *s, __int128 *ret_ns) {
    __int128 whole = 0, part = 0, scale = 1;
    size_t digits = 0;
    bool fraction = false;
    for (; s->n; *s = sp_str_from(*s, 1)) {
        char c = s->p[0];
        if (c == '.' && !fraction) {
            fraction = true;
            continue;
        }
        if (c < '0' || c > '9') break;
        digits++;
        if (!fraction)
            whole = whole * 10 + (c - '0');
        else if (scale < INT64_C(1000000000000000000))
            part = part * 10 + (c - '0'), scale *= 10;
        if (whole > INT64_MAX) return false;
    }
    int64_t unit;
    if (!digits || !take_unit(s, &unit)) return false;
    *ret_ns = whole * unit + part * unit / scale;
    return true;
}

bool sp_duration_parse_ns(sp_str s, int64_t *ret_ns) {
    __int128 sum = 0, span;
    bool negative = s.n && s.p[0] == '-';
    if (s.n && (s.p[0] == '-' || s.p[0] == '+')) s = sp_str_from(s, 1);
    if (!s.n) return false;
    bool zero = sp_str_eq(s, SP_STR("0"));
    while (s.n && !zero) {
        if (!take_span(&s, &span)) return false;
        sum += span;
        if (sum > INT64_MAX) return false;
    }
    *ret_ns = (int64_t)(negative ? -sum : sum);
    return true;
}

bool sp_duration_parse(sp_str s, int64_t *ret_ms) {
    int64_t ns;
    if (!sp_duration_parse_ns(s, &ns)) return false;
    *ret_ms = ns / 1000000;
    return true;
}
