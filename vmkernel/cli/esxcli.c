/* SPDX-License-Identifier: Apache-2.0 */
/*
 * esxcli: words to a row of the tables (commands.h), its options to a request, the reply
 * through the row's shape to the output. What a namespace holds, how a command is used
 * and what the shell completes is all read off the same rows.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "base/align.h"
#include "base/cleanup.h"
#include "base/parse.h"
#include "vmkernel/cli/client.h"
#include "vmkernel/cli/commands.h"

#define PROGRAM "esxcli"
#define LIST_WORDS "esxcli command list" /* the one that asks no host */
#define PATH_SIZE 256
#define SECRET_SIZE 256
#define NUMBER_MAX 0x7fffffffffffffffull

struct call {
	struct client client;
	enum output_format format;
	char path[PATH_SIZE]; /* the words so far, with blanks between */
};

/* All tables as one. NULL: there are not so many. */
static const struct command *command_at(unsigned int i)
{
	for (unsigned int table = 0; table < command_table_count; table++)
		for (const struct command *c = command_tables[table]; c->words; c++)
			if (i-- == 0)
				return c;
	return NULL;
}

/* ---- what there is ---- */

/* The word of a command behind path, if it lies there: its length, 0 if it does not. */
static size_t word_below(const char *words, const char *path, const char **ret_word)
{
	size_t len = strlen(path);
	if (strncmp(words, path, len) != 0 || (len && words[len] != ' '))
		return 0;
	*ret_word = words + len + (len > 0);
	return strcspn(*ret_word, " ");
}

/* Namespaces, or commands, right below path; the same word once. */
static unsigned int list_below(FILE *f, const char *path, bool wants_commands)
{
	const char *word, *last = "";
	size_t last_len = 0;
	unsigned int count = 0;
	const struct command *c;
	for (unsigned int i = 0; (c = command_at(i)) != NULL; i++) {
		size_t len = word_below(c->words, path, &word);
		bool is_same = len && len == last_len && !strncmp(word, last, len);
		if (!len || is_same || (word[len] == '\0') != wants_commands)
			continue;
		if (f && !count)
			(void)fprintf(f, "\nAvailable %s:\n",
				      wants_commands ? "Commands" : "Namespaces");
		if (f)
			(void)fprintf(f, wants_commands ? "  %-20.*s  %s\n" : "  %.*s\n",
				      (int)len, word, c->help);
		last = word;
		last_len = len;
		count++;
	}
	return count;
}

static void show_namespace(FILE *f, const char *path)
{
	(void)fprintf(f, "Usage: " PROGRAM " [options] %s%s{cmd} [cmd options]\n", path,
		      *path ? " " : "");
	if (!*path)
		(void)fputs(
			"\nOptions:\n"
			"  -s <socket>           Ask the vmkernel that listens there\n"
			"  --formatter=<format>  text, json, csv, xml or keyvalue\n"
			"  -h|-?|--help          This, of any namespace or command\n",
			f);
	(void)list_below(f, path, false);
	(void)list_below(f, path, true);
}

static const char *argument_text(enum parameter_kind kind)
{
	return kind == PARAMETER_NUMBER	 ? "=<long>" :
	       kind == PARAMETER_FILE	 ? "=<file>" :
	       kind == PARAMETER_FLAG || kind == PARAMETER_IGNORED ? "" :
								     "=<str>";
}

static void show_command(FILE *f, const struct command *cmd)
{
	const char *last = strrchr(cmd->words, ' ');
	(void)fprintf(f,
		      "Usage: " PROGRAM " %s [cmd options]\n\nDescription:\n"
		      "  %-20s  %s\n%s",
		      cmd->words, last ? last + 1 : cmd->words, cmd->help,
		      cmd->parameters ? "\nCmd options:\n" : "");
	for (const struct parameter *p = cmd->parameters; p && p->name; p++) {
		char text[64], letter[8] = "";
		if (p->letter)
			(void)snprintf(letter, sizeof(letter), "-%c|", p->letter);
		(void)snprintf(text, sizeof(text), "%s--%s%s", letter, p->name,
			       argument_text(p->kind));
		(void)fprintf(f, "  %-30s  %s%s\n", text, p->help,
			      p->is_required ? " (required)" : "");
	}
}

/* For the shell: one line a command, with its options. */
static void list_commands(FILE *f)
{
	const struct command *c;
	for (unsigned int i = 0; (c = command_at(i)) != NULL; i++) {
		(void)fprintf(f, "%s", c->words);
		for (const struct parameter *p = c->parameters; p && p->name; p++)
			(void)fprintf(f, " --%s", p->name);
		(void)fputc('\n', f);
	}
}

/* ---- options to a request ---- */

__attribute__((format(printf, 2, 3))) static int wrong_use(const struct command *cmd,
							   const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	(void)fputs("Error: ", stderr);
	(void)vfprintf(stderr, fmt, ap);
	va_end(ap);
	(void)fputs("\n\n", stderr);
	show_command(stderr, cmd);
	return 1;
}

/* The option that arg names; *ret_value: what stands behind '=', or NULL. */
static const struct parameter *find_parameter(const struct command *cmd, const char *arg,
					      const char **ret_value)
{
	bool is_long = arg[0] == '-' && arg[1] == '-';
	const char *name = arg + (is_long ? 2 : 1);
	size_t len = strcspn(name, "=");
	*ret_value = name[len] ? name + len + 1 : NULL;
	for (const struct parameter *p = cmd->parameters; p && p->name; p++) {
		if (is_long ? strlen(p->name) == len && !strncmp(p->name, name, len) :
			      len == 1 && p->letter == *name)
			return p;
	}
	return NULL;
}

/* The first line of a file, or what is typed; 0 or -errno. */
static int read_secret(const char *path, char secret[SECRET_SIZE])
{
	bool is_input = strcmp(path, "-") == 0;
	AUTO_FCLOSE FILE *opened = is_input ? NULL : fopen(path, "re");
	FILE *f = is_input ? stdin : opened;
	struct termios before, silent;
	if (!f)
		return -errno;
	bool is_typed = is_input && tcgetattr(STDIN_FILENO, &before) == 0;
	if (is_typed) {
		silent = before;
		silent.c_lflag &= ~(tcflag_t)ECHO;
		(void)fputs("Secret: ", stderr);
		(void)tcsetattr(STDIN_FILENO, TCSAFLUSH, &silent);
	}
	bool has_line = fgets(secret, SECRET_SIZE, f);
	if (is_typed) {
		(void)tcsetattr(STDIN_FILENO, TCSAFLUSH, &before);
		(void)fputc('\n', stderr);
	}
	if (!has_line)
		return -ENODATA;
	secret[strcspn(secret, "\r\n")] = '\0';
	return 0;
}

static int take_text(const struct command *cmd, const struct parameter *p,
		     const char *value, json_t *body)
{
	char secret[SECRET_SIZE];
	json_t *text = json_string(value);
	if (p->kind == PARAMETER_SECRET)
		(void)fprintf(stderr,
			      PROGRAM ": warning: other users can see a secret on the "
				      "command line: use --%s-file\n",
			      p->name);
	if (p->kind == PARAMETER_FILE) {
		json_decref(text);
		int rc = read_secret(value, secret);
		if (rc < 0)
			return wrong_use(cmd, "%s: %s", value, strerror(-rc));
		text = json_string(secret);
		explicit_bzero(secret, sizeof(secret));
	}
	if (!text) /* jansson takes UTF-8 alone */
		return wrong_use(cmd, "--%s is no text in UTF-8", p->name);
	json_object_set_new(body, p->key, text);
	return 0;
}

static int take_value(const struct command *cmd, const struct parameter *p,
		      const char *value, json_t *body)
{
	uint64_t n;
	if (p->key && json_object_get(body, p->key))
		return wrong_use(cmd, "Parameter --%s is given twice, or beside another "
				      "that says the same", p->name);
	if (p->kind == PARAMETER_FLAG) {
		json_object_set_new(body, p->key, json_true());
	} else if (p->kind == PARAMETER_NUMBER) {
		if (parse_u64(value, NUMBER_MAX, &n) < 0)
			return wrong_use(cmd, "Invalid value for --%s: %s is no number",
					 p->name, value);
		json_object_set_new(body, p->key, json_integer((json_int_t)n));
	} else if (p->kind != PARAMETER_IGNORED) {
		return take_text(cmd, p, value, body);
	}
	return 0;
}

/* "-A|--adapter": whoever of the same key is given will do. */
static int check_required(const struct command *cmd, const json_t *body)
{
	for (const struct parameter *p = cmd->parameters; p && p->name; p++) {
		if (!p->is_required || json_object_get(body, p->key))
			continue;
		if (p->letter)
			return wrong_use(cmd, "Missing required parameter -%c|--%s",
					 p->letter, p->name);
		return wrong_use(cmd, "Missing required parameter --%s", p->name);
	}
	return 0;
}

/* Who lists processes need not see it any longer. */
static void hide_end(char *arg, size_t len)
{
	memset(arg + strlen(arg) - len, '*', len);
}

static int take_options(const struct command *cmd, char **argv, json_t *body)
{
	for (; *argv; argv++) {
		const char *value;
		if (argv[0][0] != '-' || !argv[0][1])
			return wrong_use(cmd, "Unexpected argument %s", *argv);
		const struct parameter *p = find_parameter(cmd, *argv, &value);
		if (!p)
			return wrong_use(cmd, "Invalid option %.*s",
					 (int)strcspn(*argv, "="), *argv);
		bool is_flag = p->kind == PARAMETER_FLAG || p->kind == PARAMETER_IGNORED;
		if (is_flag && value)
			return wrong_use(cmd, "Option --%s takes no value", p->name);
		if (!is_flag && !value && !argv[1])
			return wrong_use(cmd, "Option --%s needs a value", p->name);
		if (!is_flag && !value)
			value = *++argv;
		int rc = take_value(cmd, p, value, body);
		if (p->kind == PARAMETER_SECRET)
			hide_end(*argv, strlen(value));
		if (rc)
			return rc;
	}
	return check_required(cmd, body);
}

/* ---- running ---- */

static int run_command(const struct call *call, const struct command *cmd, char **argv)
{
	json_t *body = json_object(), *reply;
	int rc = take_options(cmd, argv, body);
	if (rc) {
		json_decref(body);
		return rc;
	}
	if (!cmd->ask)
		json_object_set_new(body, "words", json_string(cmd->words));
	rc = client_ask(&call->client, cmd->ask ? cmd->ask : MSG_ADMIN, body, &reply);
	if (rc)
		return rc;
	if (cmd->shape)
		output_rows(stdout, call->format, cmd->shape,
			    json_object_get(reply, cmd->rows ? cmd->rows : "rows"));
	json_decref(reply);
	return fflush(stdout) == 0 ? 0 : 1;
}

static bool is_help(const char *arg)
{
	return !strcmp(arg, "-h") || !strcmp(arg, "--help") || !strcmp(arg, "-?");
}

/* Adds a word to the path; the command of exactly this path, if there is one. */
static const struct command *descend(struct call *call, const char *word)
{
	size_t len = strlen(call->path);
	const struct command *c;
	(void)snprintf(call->path + len, PATH_SIZE - len, "%s%s", len ? " " : "", word);
	for (unsigned int i = 0; (c = command_at(i)) != NULL; i++)
		if (strcmp(c->words, call->path) == 0)
			return c;
	return NULL;
}

static int run_words(struct call *call, char **argv)
{
	const struct command *cmd = NULL;
	for (; *argv && !cmd && **argv != '-'; argv++) {
		cmd = descend(call, *argv);
		if (!cmd && !list_below(NULL, call->path, false) &&
		    !list_below(NULL, call->path, true)) {
			(void)fprintf(stderr,
				      "Error: Unknown command or namespace %s\n",
				      call->path);
			return 1;
		}
	}
	for (char **arg = argv; cmd && *arg; arg++) {
		if (is_help(*arg)) {
			show_command(stdout, cmd);
			return 0;
		}
	}
	if (cmd && !strcmp(cmd->words, LIST_WORDS)) {
		list_commands(stdout);
		return 0;
	}
	if (cmd)
		return run_command(call, cmd, argv);
	bool wants_help = *argv && is_help(*argv);
	if (*argv && !wants_help)
		(void)fprintf(stderr, "Error: Invalid option %s\n\n", *argv);
	show_namespace(wants_help ? stdout : stderr, call->path);
	return !wants_help;
}

/* Takes an option that stands before the words; how many arguments it is, or -1. */
static int take_global(struct call *call, char **argv)
{
	static const char formatter[] = "--formatter";
	size_t len = strlen(formatter);
	const char *word = NULL;
	int count = 2;
	if (!strcmp(argv[0], "-s") && argv[1]) {
		call->client.socket = argv[1];
		return count;
	}
	if (!strcmp(argv[0], formatter))
		word = argv[1];
	else if (!strncmp(argv[0], formatter, len) && argv[0][len] == '=')
		word = argv[0] + len + 1, count = 1;
	else
		return 0;
	if (word && output_format_parse(word, &call->format) == 0)
		return count;
	(void)fprintf(stderr, "Error: Unknown formatter %s: text, json, csv, xml or "
			      "keyvalue\n", word ? word : "");
	return -1;
}

int main(int argc, char **argv)
{
	struct call call = { .client = { PROGRAM, msg_default_socket() } };
	int count = 1, at = 0;
	while (count > 0 && (at += count) < argc)
		count = take_global(&call, argv + at);
	return count < 0 ? 1 : run_words(&call, argv + at);
}
