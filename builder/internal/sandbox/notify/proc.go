//go:build linux && (amd64 || arm64)

package notify

import (
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/storage/openat2"
)

// below answers a call about /proc or a name below it.
func (t *thread) below(r *request, name string) error {
	name = strings.TrimPrefix(strings.TrimPrefix(name, "/proc"), "/")
	if name == "" {
		if r.kind != opening {
			return t.state(r, int(t.proc.Fd()), ".")
		}
		return t.openAt(r, int(t.proc.Fd()), ".", "")
	}
	names := strings.Split(name, "/")
	if len(names) == 1 {
		if done, err := t.own(r, name); done || err != nil {
			return err
		}
	}
	names = r.real(names)
	id, err := strconv.Atoi(names[0])
	switch {
	case err != nil && t.masked(names):
		return unix.ENOENT
	case err != nil:
		return t.file(r, names, len(names))
	case names[0] != r.who.id && !t.ours(id):
		return unix.ENOENT
	}
	return t.file(r, names, magic(names))
}

// real gives the names of what is different for each process.
func (r *request) real(names []string) []string {
	switch names[0] {
	case "self":
		return append([]string{r.who.id}, names[1:]...)
	case "thread-self":
		return append([]string{r.who.id, "task", r.thread}, names[1:]...)
	case "net", "mounts":
		return append([]string{r.who.id}, names...)
	}
	return names
}

// own answers what is asked about a link that leads each process to what is its own.
func (t *thread) own(r *request, name string) (bool, error) {
	text := ""
	switch name {
	case "self":
		text = r.who.id
	case "thread-self":
		text = r.who.id + "/task/" + r.thread
	case "net", "mounts":
		text = "self/" + name
	}
	switch {
	case text == "" || r.follows():
		return false, nil
	case r.kind == reading:
		return true, t.text(r, text)
	case r.kind == opening:
		return false, unix.ELOOP
	}
	return true, t.state(r, int(t.proc.Fd()), name)
}

// ours says whether a process is one of the command.
func (t *thread) ours(id int) bool {
	var st unix.Stat_t
	err := unix.Fstatat(int(t.proc.Fd()), strconv.Itoa(id)+"/root", &st, 0)
	return err == nil && st.Dev == t.root.Dev && st.Ino == t.root.Ino
}

// masked says whether a path is hidden from commands.
func (t *thread) masked(names []string) bool { return listed(t.Masked, names) }

func listed(paths, names []string) bool {
	name := "/proc/" + strings.Join(names, "/")
	return slices.ContainsFunc(paths, func(one string) bool { return below(name, one) })
}

// magic is the place of the first name that is not text but leads somewhere, after those of a process or a thread,
// or the number of names.
func magic(names []string) int {
	at := 1
	if len(names) > 3 && names[1] == "task" {
		at = 3
	}
	switch {
	case len(names) > at && (names[at] == "root" || names[at] == "cwd" || names[at] == "exe"):
		return at
	case len(names) > at+1 && (names[at] == "fd" || names[at] == "ns" || names[at] == "map_files"):
		return at + 1
	}
	return len(names)
}

// file answers a call about a file below /proc, where at is the place of the first name that leads somewhere.
func (t *thread) file(r *request, names []string, at int) error {
	last := at >= len(names)-1
	dir := strings.Join(names[:min(at, len(names)-1)], "/")
	name := names[min(at, len(names)-1)]
	parent, err := openat2.Open(int(t.proc.Fd()), "./"+dir, &unix.OpenHow{
		Flags: unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS,
	})
	if err != nil {
		return err
	}
	defer unix.Close(parent)
	// The call still waits, and so the process is this one.
	if !t.listener.valid(r.notification) {
		return nil
	}
	if at < len(names) && (!last || (name == "root" || name == "cwd") && r.kind == opening && r.follows()) {
		return t.through(r, parent, name, names[at+1:])
	}
	if r.kind != opening {
		return t.state(r, parent, name)
	}
	if err := t.mayOpen(r, names); err != nil {
		return err
	}
	if at < len(names) {
		if !r.follows() {
			return unix.ELOOP
		}
		return t.reopen(r, parent, name)
	}
	if (name == "mountinfo" || name == "mounts") && strings.Trim(dir, "0123456789task/") == "" {
		return t.openTable(r, name)
	}
	return t.openAt(r, parent, name, strings.Join(names, "/"))
}
