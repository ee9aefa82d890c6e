/* Opening paths that somebody else has a hand in: whatever symbolic links lie on the way, the
 * directory given is "/" to them (openat2(2), RESOLVE_IN_ROOT). A path cannot leave it, not even
 * while a container renames things under it. */
#pragma once

/* -1 and errno on failure. flags as for open(2); O_CLOEXEC is added. */
int sp_open_inside(int root, const char *path, int flags);
