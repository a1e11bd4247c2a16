/* The status page's one style sheet and one script. */
#ifndef PP_DAEMON_PAGE_ASSETS_H
#define PP_DAEMON_PAGE_ASSETS_H

extern const char page_style[];
extern const char page_script[];

#endif
