package dockerfile

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"runtime"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"

	"github.com/oakum-build/oakum/builder"
	"github.com/oakum-build/oakum/dockerfile/internal/plan"
)

// stepHint is what may help with a failed step, or "".
func (t *task) stepHint(err error, c command) string {
	switch ic := c.expanded.(type) {
	case *instructions.CopyCommand:
		if len(c.From) > 0 {
			return ""
		}
		return t.sourceHint(err, ic.SourcePaths)
	case *instructions.AddCommand:
		return t.sourceHint(err, ic.SourcePaths)
	case *instructions.RunCommand:
		return runHint(err, ic, t.fs.Config().User)
	}
	return ""
}

// notFound is a shell's status for a program that is not there.
const notFound = 127

// badSystemCall is a shell's status for a command that SIGSYS has ended.
const badSystemCall = 128 + 31

// runHint helps with a command that could not be run.
func runHint(err error, c *instructions.RunCommand, user string) string {
	var exit *builder.ExitError
	if !errors.As(err, &exit) || len(exit.Args) == 0 {
		return ""
	}
	if exit.Code == badSystemCall && runtime.GOARCH == "amd64" {
		return "a program made a system call that is not allowed; 32-bit programs run only in an image for linux/386, or one that has their dynamic linker before the step (/lib/ld-linux.so.2): install it in a RUN of its own"
	}
	if exit.Code == 126 && strings.HasSuffix(exit.Reason, fs.ErrPermission.Error()) {
		return fmt.Sprintf("%s may not run %s: the file needs permission to be executed, and every directory that it is in to be entered", cmp.Or(user, "root"), exit.Args[0])
	}
	if !c.PrependShell {
		return ""
	}
	switch {
	case meantForExec(strings.Join(c.CmdLine, " "), exit.Code):
		return `this is no JSON array, so the shell got it; the exec form has double quotes, commas and a closing bracket: RUN ["PROGRAM", "ARGUMENT"]`
	case exit.Code == notFound && exit.Reason != "":
		return fmt.Sprintf(`the shell form needs %s in the image; use a base image that has it, SHELL, or the exec form: RUN ["PROGRAM", "ARGUMENT"]`, exit.Args[0])
	}
	return ""
}

// meantForExec says that a command that failed in the shell was to be an exec form, and no test of the shell's: a list of
// quoted words, or one that begins with a bracket which the shell took for a part of a program's name.
func meantForExec(command string, code int) bool {
	if !strings.HasPrefix(command, "[") {
		return false
	}
	isTest := strings.HasPrefix(command, "[ ") || strings.HasPrefix(command, "[[")
	return strings.Contains(command, `",`) || strings.Contains(command, `',`) || code == notFound && !isTest
}

// sourceHint helps with a source that is not in the build context.
func (t *task) sourceHint(err error, sources []string) string {
	if !errors.Is(err, builder.ErrNotFound) {
		return ""
	}
	hint := strings.TrimSuffix("sources are looked up in the build context, "+plan.Redact(t.opts.Context.Dir+t.opts.Context.URL), ", ")
	for _, source := range sources {
		if path.IsAbs(source) || strings.HasPrefix(path.Clean(source), "../") {
			hint += ", and cannot be outside of it"
			break
		}
	}
	if t.opts.Context.Dir == "" {
		return hint
	}
	for _, source := range sources {
		if near := nearFile(t.opts.Context.Dir, inRoot(source)); near != "" {
			return hint + "; did you mean " + printable(near) + "?"
		}
	}
	return hint
}

// maxNear bounds the files that are looked at for a better name.
const maxNear = 1000

// nearFile finds a file of a directory that has nearly the name of one that is not there;
// "" when there is none, or the file is there.
func nearFile(dir, name string) string {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return ""
	}
	defer root.Close()
	if _, err := root.Lstat(name); !errors.Is(err, fs.ErrNotExist) {
		return ""
	}
	parent, err := root.Open(path.Dir(name))
	if err != nil {
		return ""
	}
	defer parent.Close()
	names, err := parent.Readdirnames(maxNear)
	if err != nil {
		return ""
	}
	if near := plan.Nearest(path.Base(name), names); near != "" {
		return path.Join(path.Dir(name), near)
	}
	return ""
}
