/* Argument parsing shared by all commands, and help. */
#include "cli/cli.h"

#include "base/suggest.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define DEFAULT_CONFIG SYSCONFDIR "/proofproxy/proofproxy.conf"
#define WORD_REPEATED  24 /* characters; commands, options, environments and fingerprints are shorter, tokens longer */

void cli_error(const struct cli_context *context, const char *format, ...)
{
    va_list args;

    (void)fprintf(stderr, "proofproxy%s%s: ", context->command == NULL ? "" : " ",
                  context->command == NULL ? "" : context->command->name);
    va_start(args, format);
    (void)vfprintf(stderr, format, args);
    va_end(args);
    (void)fputc('\n', stderr);
}

/* The command and the way to give its arguments that begins at `usage`; returns the next way, or NULL. */
static const char *write_way(const struct cli_command *command, const char *usage, char *out, size_t size)
{
    size_t n = strcspn(usage, "\n");

    (void)snprintf(out, size, "%s%s%.*s", command->name, n == 0 ? "" : " ", (int)n, usage);
    return usage[n] == '\0' ? NULL : usage + n + 1;
}

static void print_usage(FILE *to, const struct cli_command *command)
{
    char way[128];

    for (const char *usage = command->usage; usage != NULL;) {
        const char *before = usage == command->usage ? "usage:" : "      ";
        usage = write_way(command, usage, way, sizeof way);
        (void)fprintf(to, "%s proofproxy [-c FILE] %s\n", before, way);
    }
}

static void print_help(void)
{
    (void)printf("usage: proofproxy [-c FILE] [COMMAND] [ARGS]\n\n"
                 "Attaches the client token to calls of local apps and forwards them to Proof.\n\n"
                 "Commands (none means run):\n");
    for (const struct cli_command *c = cli_commands; c->name != NULL; c++) {
        char way[128] = "";
        for (const char *usage = c->usage; usage != NULL;) {
            usage = write_way(c, usage, way, sizeof way);
            if (usage != NULL || strlen(way) > 28)
                (void)printf("  %s\n", way);
        }
        (void)printf("  %-28s  %s\n", strlen(way) > 28 ? "" : way, c->help);
    }
    (void)printf("\nOptions:\n"
                 "  %-28s  the config file (%s)\n"
                 "  %-28s  print the versions of proofproxy and its libraries\n"
                 "  %-28s  print this help, or that of a command\n\n"
                 "Exit status: 0 done, 1 failure, 2 usage, 3 a problem was found, 78 the config is at fault.\n",
                 "-c, --config FILE", DEFAULT_CONFIG, "-V, --version", "-h, --help");
}

int cli_usage_fault(const struct cli_context *context)
{
    print_usage(stderr, context->command);
    return CLI_USAGE;
}

/* Does `argument` name `option`, as "--max" or "--max=VALUE"? *inline_value is the VALUE, or NULL. */
static bool names_option(const char *argument, const char *option, const char **inline_value)
{
    size_t n = strlen(option);

    if (strncmp(argument, option, n) != 0 || (argument[n] != '\0' && argument[n] != '='))
        return false;
    *inline_value = argument[n] == '=' ? argument + n + 1 : NULL;
    return true;
}

const char *cli_word(const char *word)
{
    return strlen(word) <= WORD_REPEATED ? word : "(a long word, not repeated)";
}

/* Of an option to be named in an error: up to its value, which somebody may have thought to be the token. */
static const char *option_word(const char *argument, char name[static WORD_REPEATED + 1])
{
    size_t n = strcspn(argument, "=");
    if (n > WORD_REPEATED)
        return cli_word(argument);
    memcpy(name, argument, n);
    name[n] = '\0';
    return name;
}

/* One option at argv[*i]; moves *i onto its value. */
static int take_option(const struct cli_context *context, int argc, char **argv, const struct cli_option *options,
                       int *i)
{
    struct suggestion near = {0};

    for (const struct cli_option *o = options; o->name != NULL; o++) {
        const char *value = NULL;
        if (!names_option(argv[*i], o->name, &value)) {
            suggest_offer(&near, argv[*i], o->name);
            continue;
        }
        if (o->value == NULL && value != NULL) {
            cli_error(context, "%s takes no value", o->name);
            return cli_usage_fault(context);
        }
        if (o->value != NULL && value == NULL) {
            if (*i + 1 >= argc) {
                cli_error(context, "%s needs a value", o->name);
                return cli_usage_fault(context);
            }
            value = argv[++*i];
        }
        if (o->value != NULL)
            *o->value = value;
        if (o->given != NULL)
            *o->given = true;
        return CLI_OK;
    }
    char name[WORD_REPEATED + 1];
    if (near.name != NULL)
        cli_error(context, "unknown option %s; did you mean %s?", option_word(argv[*i], name), near.name);
    else
        cli_error(context, "unknown option %s", option_word(argv[*i], name));
    return cli_usage_fault(context);
}

/* What stands behind --admin, if it was given, looks like an address. It is not repeated, it may be anything. */
static bool admin_is_address(const struct cli_option *options)
{
    for (const struct cli_option *o = options; o->name != NULL; o++) {
        const char *given = strcmp(o->name, "--admin") == 0 && o->value != NULL ? *o->value : NULL;
        const char *colon = given == NULL ? NULL : strrchr(given, ':');
        if (given != NULL && (colon == NULL || colon == given || colon[1] == '\0'))
            return false;
    }
    return true;
}

int cli_arguments(const struct cli_context *context, int argc, char **argv, const struct cli_option *options, int least,
                  int most, int *count)
{
    bool only_arguments = false;
    int left = 0;

    for (int i = 1; i < argc; i++) {
        if (!only_arguments && strcmp(argv[i], "--") == 0) {
            only_arguments = true;
        } else if (!only_arguments && argv[i][0] == '-' && argv[i][1] != '\0') {
            int status = take_option(context, argc, argv, options, &i);
            if (status != CLI_OK)
                return status;
        } else {
            argv[++left] = argv[i];
        }
    }
    if (left < least || left > most) {
        /* The surplus argument is not repeated: somebody may have typed a token there. */
        cli_error(context, "%s", left < least ? "an argument is missing" : "too many arguments");
        return cli_usage_fault(context);
    }
    if (!admin_is_address(options)) {
        cli_error(context, "--admin: expected unix:PATH or HOST:PORT");
        return cli_usage_fault(context);
    }
    *count = left;
    return CLI_OK;
}

static const struct cli_command *find_command(const struct cli_context *context, const char *name)
{
    struct suggestion near = {0};

    for (const struct cli_command *c = cli_commands; c->name != NULL; c++) {
        if (strcmp(c->name, name) == 0)
            return c;
        suggest_offer(&near, name, c->name);
    }
    if (near.name != NULL)
        cli_error(context, "no command is named \"%s\"; did you mean \"%s\"?", cli_word(name), near.name);
    else
        cli_error(context, "no command is named \"%s\"; \"proofproxy -h\" lists them", cli_word(name));
    return NULL;
}

/* What may stand anywhere on the line. */
struct shared_options {
    const char *config_path;
    bool help, version;
};

/* Takes the shared options out of argv, in front of the command and behind it. Returns the number of arguments left, or
 * -1 when the line is wrong. */
static int take_shared(const struct cli_context *context, int argc, char **argv, struct shared_options *shared)
{
    int left = 1;

    for (int i = 1; i < argc; i++) {
        const char *value = NULL;
        if (strcmp(argv[i], "--") == 0) {
            while (i < argc)
                argv[left++] = argv[i++];
        } else if (strcmp(argv[i], "-h") == 0 || strcmp(argv[i], "--help") == 0) {
            shared->help = true;
        } else if (strcmp(argv[i], "-V") == 0 || strcmp(argv[i], "--version") == 0) {
            shared->version = true;
        } else if (names_option(argv[i], "-c", &value) || names_option(argv[i], "--config", &value)) {
            if (value == NULL && i + 1 < argc)
                value = argv[++i];
            if (value == NULL || value[0] == '\0') {
                cli_error(context, "-c needs the path of a config file");
                return -1;
            }
            shared->config_path = value;
        } else {
            argv[left++] = argv[i];
        }
    }
    argv[left] = NULL;
    return left;
}

/* A full disk or a closed pipe must not look like success. */
static int flush_output(const struct cli_context *context, int status)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return status;
    cli_error(context, "could not write to standard output: %s", strerror(errno));
    return status == CLI_OK ? CLI_FAILURE : status;
}

int cli_main(int argc, char **argv)
{
    struct cli_context context = {.config_path = DEFAULT_CONFIG};
    struct shared_options shared = {.config_path = DEFAULT_CONFIG};
    char run[] = "run";
    char *only_run[] = {run, NULL};

    int left = take_shared(&context, argc, argv, &shared);
    if (left < 0)
        return CLI_USAGE;
    if (shared.version) {
        cli_print_version();
        return flush_output(&context, CLI_OK);
    }
    if (shared.help && left <= 1) {
        print_help();
        return flush_output(&context, CLI_OK);
    }
    context.config_path = shared.config_path;
    if (left > 1 && argv[1][0] == '-') {
        char name[WORD_REPEATED + 1];
        cli_error(&context, "unknown option %s; \"proofproxy -h\" lists what there is", option_word(argv[1], name));
        return CLI_USAGE;
    }
    context.command = find_command(&context, left > 1 ? argv[1] : run);
    if (context.command == NULL)
        return CLI_USAGE;
    if (shared.help) {
        print_usage(stdout, context.command);
        (void)printf("%s\n", context.command->help);
        return flush_output(&context, CLI_OK);
    }
    int status =
        left > 1 ? context.command->run(&context, left - 1, argv + 1) : context.command->run(&context, 1, only_run);
    return flush_output(&context, status);
}
