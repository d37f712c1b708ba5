//go:build linux

package runnable

import (
	"path"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// shells are the shells whose -c is understood.
var shells = []string{"sh", "ash", "bash", "dash", "ksh", "mksh", "zsh"}

// scriptFlag is -c with other flags, but for -l and -i: those read files that may set PATH.
var scriptFlag = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^-[a-hj-km-zA-Z]*c$`)
})

// shellScript gives the script of a command that is a shell with -c.
func shellScript(args []string) (string, bool) {
	if len(args) < 3 || !slices.Contains(shells, path.Base(args[0])) {
		return "", false
	}
	for i, arg := range args[1:] {
		switch {
		case scriptFlag().MatchString(arg) && i+2 < len(args):
			return args[i+2], true
		case !strings.HasPrefix(arg, "-") && arg != "pipefail": // -o pipefail
			return "", false
		case strings.ContainsAny(arg, "il"):
			return "", false
		}
	}
	return "", false
}

// oneCommand matches a script that is one simple command, and its first word. What
// stands in its arguments does not matter.
var oneCommand = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile("^\\s*(?:exec\\s+)?([A-Za-z0-9_./][A-Za-z0-9_./+-]*)(\\s[^;&|(){}`\n\\\\]*)?$")
})

// builtins are words that no file is needed for.
var builtins = strings.Fields(`. : [ [[ alias bg bind break builtin caller case cd command compgen complete
	continue coproc declare dirs disown do done echo elif else enable esac eval exec exit export false fc fg
	fi for function getopts hash help history if in jobs kill let local logout mapfile popd printf print
	pushd pwd read readarray readonly return select set shift shopt source suspend test then time times
	trap true type typeset ulimit umask unalias unset until wait whence while`)

// script checks the first word of a shell's script, when it is one command.
func (k *checker) script(text, shell string) {
	m := oneCommand().FindStringSubmatch(text)
	if m == nil || slices.Contains(builtins, m[1]) {
		return
	}
	// A busybox runs its applets without files.
	applets := !slices.Contains([]string{"bash", "dash", "ksh", "mksh", "zsh"}, path.Base(shell))
	if _, _, err := k.find(m[1]); err != nil && applets && !strings.Contains(m[1], "/") {
		return
	}
	before := len(k.problems)
	k.program(m[1], "", 0)
	// A shell runs a text without #! itself.
	k.problems = slices.DeleteFunc(k.problems, func(p string) bool {
		return len(k.problems) > before && (strings.HasSuffix(p, textOnly) || strings.HasSuffix(p, " is empty"))
	})
}
