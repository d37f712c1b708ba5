// Writes the program that libseccomp makes of a profile, which it reads a word at a time:
//
//	default ACTION
//	arch NAME...                                   beside the machine's own
//	rule ACTION NAME [INDEX OP VALUE VALUE2]...    OP is one of enum scmp_compare
//
// Actions are the kernel's numbers. Names that this libseccomp does not know are passed over, and
// written to standard error.
#include <seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int main(void)
{
	static char line[4096];
	scmp_filter_ctx ctx = NULL;
	while (fgets(line, sizeof(line), stdin) != NULL) {
		char *word = strtok(line, " \n");
		if (strcmp(word, "default") == 0) {
			ctx = seccomp_init(strtoul(strtok(NULL, " \n"), NULL, 0));
		} else if (strcmp(word, "arch") == 0) {
			seccomp_arch_add(ctx, seccomp_arch_resolve_name(strtok(NULL, " \n")));
		} else {
			struct scmp_arg_cmp args[6];
			unsigned count = 0;
			unsigned action = strtoul(strtok(NULL, " \n"), NULL, 0);
			char *name = strtok(NULL, " \n");
			int number = seccomp_syscall_resolve_name(name);
			while ((word = strtok(NULL, " \n")) != NULL) {
				args[count].arg = strtoul(word, NULL, 0);
				args[count].op = strtoul(strtok(NULL, " \n"), NULL, 0);
				args[count].datum_a = strtoull(strtok(NULL, " \n"), NULL, 0);
				args[count].datum_b = strtoull(strtok(NULL, " \n"), NULL, 0);
				count++;
			}
			if (number == __NR_SCMP_ERROR) {
				fprintf(stderr, "%s\n", name);
				continue;
			}
			int result = seccomp_rule_add_array(ctx, action, number, count, args);
			if (result != 0) {
				fprintf(stderr, "rule for %s: %s\n", name, strerror(-result));
				return 1;
			}
		}
	}
	return seccomp_export_bpf(ctx, STDOUT_FILENO) != 0;
}
