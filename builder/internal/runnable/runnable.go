//go:build linux

// Package runnable finds what keeps a command from running in a root file system: a
// program, an interpreter or a shared library that is missing, or a program for
// another architecture.
//
// The root is hostile. Every path is resolved by openat2 inside it, and of every file no
// more is read than a kernel or dynamic linker would, within bounds. It speaks only when
// sure: what a volume, a shell or an unknown linker may still bring is let pass.
package runnable

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/builder/foreign"
)

// Command is a container's command.
type Command struct {
	Args    []string // the entrypoint's and the command's
	Env     []string // NAME=value
	Dir     string   // the working directory; "" is the root
	Volumes []string // paths that hold other files when it runs
	Arch    string   // the image's, as GOARCH; an unknown one fits every program
}

// Check gives the problems, one sentence each, or nothing.
func Check(root *os.File, c Command) []string {
	k := &checker{root: root, Command: c, path: defaultPath}
	if p, ok := k.env("PATH"); ok {
		k.path = strings.Split(p, ":")
	}
	if len(c.Args) == 0 || c.Args[0] == "" || strings.Contains(c.Args[0], "$") {
		return nil // a variable is taken literally, but may be replaced by the runtime
	}
	shell := k.program(c.Args[0], "", 0)
	if script, ok := shellScript(c.Args); ok && shell != "" && len(k.problems) == 0 {
		k.script(script, shell)
	}
	return k.problems
}

var defaultPath = []string{"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"}

type checker struct {
	Command
	root     *os.File
	path     []string
	opened   int
	problems []string
}

func (k *checker) report(format string, args ...any) {
	k.problems = append(k.problems, fmt.Sprintf(format, args...))
}

// env gives the last value of a variable.
func (k *checker) env(name string) (string, bool) {
	for _, e := range slices.Backward(k.Env) {
		if n, value, _ := strings.Cut(e, "="); n == name {
			return value, true
		}
	}
	return "", false
}

// errUnsure ends the search for something of which nothing can be said.
var errUnsure = errors.New("unsure")

// maxOpened bounds how many files one check opens.
const maxOpened = 2000

// open opens a regular file by its path in the root. The error is errUnsure unless the
// file is certainly missing (ENOENT), a directory (EISDIR).
func (k *checker) open(name string) (*os.File, unix.Stat_t, error) {
	var st unix.Stat_t
	if k.opened++; k.opened > maxOpened {
		return nil, st, errUnsure
	}
	f, err := foreign.Open(k.root, name)
	switch {
	case errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR):
		if k.mayAppear(name) {
			return nil, st, errUnsure
		}
		return nil, st, unix.ENOENT
	case errors.Is(err, unix.EISDIR):
		return nil, st, unix.EISDIR
	case err != nil:
		return nil, st, errUnsure
	}
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		f.Close()
		return nil, st, errUnsure
	}
	return f, st, nil
}

// mountPoints are filled by every container runtime.
var mountPoints = []string{"/dev", "/proc", "/sys", "/run"}

// mayAppear says that a missing path, or where it links to, may be there when the
// container runs.
func (k *checker) mayAppear(name string) bool {
	if k.mounted(name) {
		return true
	}
	target := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(int(k.root.Fd()), strings.TrimPrefix(path.Clean(name), "/"), target)
	return err == nil && (len(k.Volumes) > 0 || k.mounted(path.Join(path.Dir(name), string(target[:n]))) || k.mounted(string(target[:n])))
}

// mounted says that a path is in a volume or in what every runtime mounts.
func (k *checker) mounted(name string) bool {
	in := func(dir string) bool {
		dir = path.Join("/", dir)
		return name == dir || dir == "/" || strings.HasPrefix(name, dir+"/")
	}
	return slices.ContainsFunc(mountPoints, in) || slices.ContainsFunc(k.Volumes, in)
}

// maxDepth is how many interpreters the kernel follows (BINPRM_MAX_RECURSION).
const maxDepth = 4

// program checks a program that by needs ("" for the command itself), and gives the path
// of its file, without links, or "".
func (k *checker) program(name, by string, depth int) string {
	f, found, err := k.find(name)
	needs := ""
	if by != "" {
		needs = by + " needs "
	}
	switch {
	case errors.Is(err, unix.ENOENT) && strings.Contains(name, "/") && needs != "":
		k.report("%s%s, which is not in the image", needs, shown(name))
	case errors.Is(err, unix.ENOENT) && strings.Contains(name, "/"):
		k.report("%s is not in the image", shown(name))
	case errors.Is(err, unix.ENOENT) && needs == "":
		k.report("%s is in no directory of PATH (%s)", shown(name), shown(strings.Join(k.path, ":")))
	case errors.Is(err, unix.ENOENT):
		k.report("%s%s, which is in no directory of PATH (%s)", needs, shown(name), shown(strings.Join(k.path, ":")))
	case errors.Is(err, unix.EISDIR):
		k.report("%s is a directory", shown(name))
	case errors.Is(err, unix.EACCES):
		k.report("%s is not executable: it has no x permission", shown(name))
	}
	if err != nil {
		return ""
	}
	defer f.Close()
	head := make([]byte, 256) // what the kernel reads (BINPRM_BUF_SIZE)
	n, err := f.ReadAt(head, 0)
	if err != nil && err != io.EOF {
		return ""
	}
	head = head[:n]
	switch {
	case bytes.HasPrefix(head, []byte("\x7fELF")):
		k.elf(f, found)
	case bytes.HasPrefix(head, []byte("#!")):
		if depth < maxDepth {
			k.interpreter(head[2:], found, depth)
		}
	case len(head) == 0:
		k.report("%s is empty", shown(found))
	case !bytes.ContainsFunc(head, func(r rune) bool { return r < ' ' && r != '\n' && r != '\t' && r != '\r' || r > '~' }):
		k.report("%s"+textOnly, shown(found))
	}
	real, err := k.real(f)
	if err != nil {
		return ""
	}
	return real
}

// textOnly ends the sentence on a script that only a shell can run.
const textOnly = " is a text without a #! line"

// find opens a program: by its path, or by its name in PATH. EACCES is a file that
// may not be run.
func (k *checker) find(name string) (*os.File, string, error) {
	if strings.Contains(name, "/") {
		full := name
		if !path.IsAbs(full) {
			full = path.Join("/", k.Dir, full)
		}
		f, err := k.openProgram(full)
		return f, full, err
	}
	refused := error(unix.ENOENT)
	for _, dir := range k.path {
		if !path.IsAbs(dir) || k.mounted(dir) {
			refused = errUnsure
			continue
		}
		full := path.Join(dir, name)
		f, err := k.openProgram(full)
		switch {
		case err == nil:
			return f, full, nil
		case errors.Is(err, errUnsure):
			return nil, "", err
		}
	}
	return nil, "", refused
}

func (k *checker) openProgram(name string) (*os.File, error) {
	f, st, err := k.open(name)
	if err == nil && st.Mode&0o111 == 0 {
		f.Close()
		return nil, unix.EACCES
	}
	return f, err
}

// real gives a file's path in the root, without links.
func (k *checker) real(f *os.File) (string, error) {
	base, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", k.root.Fd()))
	if err != nil {
		return "", err
	}
	full, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", f.Fd()))
	if err != nil {
		return "", err
	}
	inside, ok := strings.CutPrefix(full, strings.TrimSuffix(base, "/")+"/")
	if !ok {
		return "", errUnsure
	}
	return "/" + inside, nil
}

// interpreter checks what a "#!" line names.
func (k *checker) interpreter(line []byte, script string, depth int) {
	line, _, whole := bytes.Cut(line, []byte("\n"))
	if !whole && len(line) >= 250 {
		return // cut by the kernel, at a length that differs between kernels
	}
	text := strings.Trim(string(line), " \t")
	name, argument, _ := strings.Cut(strings.ReplaceAll(text, "\t", " "), " ")
	switch {
	case name == "" || !path.IsAbs(name):
		return
	case strings.HasSuffix(text, "\r"):
		if argument == "" {
			k.report("%s has Windows line ends, so that its first line asks for %q", shown(script), text)
		}
		return
	}
	before := len(k.problems)
	k.program(name, shown(script), depth+1)
	if path.Base(name) != "env" || len(k.problems) > before {
		return
	}
	argument = strings.TrimSpace(argument)
	if rest, ok := strings.CutPrefix(argument, "-S"); ok {
		argument, _, _ = strings.Cut(strings.TrimSpace(rest), " ")
	}
	if isPlain(argument) {
		k.program(argument, shown(script), depth+1)
	}
}

// isPlain says whether a word names a program in every shell.
func isPlain(word string) bool {
	return word != "" && word[0] != '+' && word[0] != '-' && strings.Trim(word, wordBytes) == ""
}

const wordBytes = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_./+-"

// shown makes a name of the root harmless in a message.
func shown(name string) string {
	if len(name) > 200 {
		name = name[:200] + "..."
	}
	quoted := fmt.Sprintf("%q", name)
	if quoted == `"`+name+`"` && !strings.Contains(name, " ") {
		return name
	}
	return quoted
}
