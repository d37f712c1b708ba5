//go:build linux && (amd64 || arm64)

package notify

import (
	"bytes"
	"errors"
	"path"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/storage/openat2"
)

// request is a call about a name.
type request struct {
	*notification
	form
	thread string // its number, which names it below /proc
	who    *process
	flags  int
}

// answer answers a call, or gives the thread that can.
func (t *thread) answer(n *notification) *thread {
	f := formOf(n)
	if f == nil || t.lost {
		t.listener.pass(n)
		return nil
	}
	text, err := t.copyName(n, n.args[f.name])
	if err != nil {
		return t.denied(n, err)
	}
	if len(t.Secrets) == 0 && elsewhere(text) {
		t.listener.pass(n)
		return nil
	}
	r := &request{notification: n, form: *f, thread: strconv.Itoa(int(n.thread))}
	if err := t.arguments(r); err != nil {
		return t.denied(n, err)
	}
	where, err := t.where(r, string(text))
	if err != nil {
		return t.denied(n, err)
	}
	var secret *Secret
	name, leads := t.leads(where, r.follows())
	device := !leads && r.kind != fileSystem && t.isDevice(name)
	if !leads && !device {
		if secret, err = t.secretAt(r, where); secret == nil {
			return t.denied(n, err)
		}
	}
	if r.who, err = t.look(r.thread); err != nil || !t.listener.valid(n) {
		t.listener.pass(n)
		return nil
	}
	if other := t.of(&r.who.credentials); other != t {
		return t.orPass(n, other)
	}
	if secret != nil {
		t.settle(r, t.openSecret(r, secret))
		return nil
	}
	if device {
		t.settle(r, t.device(r, name))
		return nil
	}
	t.settle(r, t.below(r, name))
	return nil
}

// settle sends what became of a call, unless that is done.
func (t *thread) settle(r *request, err error) {
	var errno unix.Errno
	switch {
	case err == nil:
	case errors.As(err, &errno):
		t.listener.fail(r.notification, errno)
	default:
		t.listener.fail(r.notification, unix.ENOENT)
	}
}

// denied is what becomes of a call that this thread could not find out about: one of the asking process's rights
// does it. That process is told by the kernel what is wrong with its call.
func (t *thread) denied(n *notification, err error) *thread {
	if !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.EACCES) {
		t.listener.pass(n)
		return nil
	}
	who, err := t.look(strconv.Itoa(int(n.thread)))
	if err != nil || !t.listener.valid(n) {
		t.listener.pass(n)
		return nil
	}
	return t.orPass(n, t.of(&who.credentials))
}

func (t *thread) orPass(n *notification, other *thread) *thread {
	if other == nil || other == t {
		t.listener.pass(n)
		return nil
	}
	return other
}

func formOf(n *notification) *form {
	for i := range forms {
		if uintptr(n.number) == forms[i].number {
			return &forms[i]
		}
	}
	return nil
}

// roots are where names below /proc begin, or links to them that programs expect in every system.
var roots = [][]byte{[]byte("/proc"), []byte("/dev/"), []byte("/etc/mtab")}

// elsewhere says of an absolute name whether it can be told by its text that it does not lead to /proc.
func elsewhere(name []byte) bool {
	if len(name) < 2 || name[0] != '/' || bytes.Contains(name, []byte("//")) || bytes.Contains(name, []byte("/.")) {
		return len(name) == 0
	}
	for _, root := range roots {
		if bytes.HasPrefix(name, root) {
			return false
		}
	}
	return true
}

// arguments reads those of a call.
func (t *thread) arguments(r *request) error {
	r.flags = r.fixed
	if r.form.flags != none {
		r.flags = int(int32(r.args[r.form.flags]))
	}
	if r.kind == opening2 {
		if err := t.how(r); err != nil {
			return err
		}
	}
	if r.kind == opening && r.flags&unix.O_PATH != 0 {
		// A descriptor that only says where a file is cannot be given: one by which it can be read does as well.
		r.flags &= unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC
	}
	return nil
}

// how reads the arguments of openat2(2), which makes no other call than openat(2) then.
func (t *thread) how(r *request) error {
	var how unix.OpenHow
	if r.args[r.size] < unix.SizeofOpenHow {
		return unix.EINVAL
	}
	got, err := t.copy(r.notification, r.args[r.form.flags], raw(&how))
	if err != nil || got < unix.SizeofOpenHow {
		return errors.Join(err, unix.EFAULT)
	}
	if how.Resolve != 0 || how.Flags>>31 != 0 {
		return unix.EINVAL // nothing below /proc is without links and other file systems
	}
	r.kind, r.flags = opening, int(how.Flags)
	return nil
}

// follows says whether a link at the end of the name is followed.
func (r *request) follows() bool {
	if r.kind == opening {
		return r.flags&unix.O_NOFOLLOW == 0
	}
	return r.flags&unix.AT_SYMLINK_NOFOLLOW == 0
}

// follow makes the name one of a directory, to which a link at its end leads.
func (r *request) follow() {
	if r.kind == opening {
		r.flags = r.flags&^unix.O_NOFOLLOW | unix.O_DIRECTORY
	} else {
		r.flags &^= unix.AT_SYMLINK_NOFOLLOW
	}
}

// where gives the path of a name in the command's root, or "" when it is in no place there. It is not clean: links
// are not looked at.
func (t *thread) where(r *request, name string) (string, error) {
	if name == "" {
		return "", nil
	}
	if last := name[strings.LastIndexByte(name, '/')+1:]; last == "" || last == "." || last == ".." {
		r.follow()
	}
	if path.IsAbs(name) {
		return name, nil
	}
	link := r.thread + "/cwd"
	if r.dir != none && int32(r.args[r.dir]) != unix.AT_FDCWD {
		link = r.thread + "/fd/" + strconv.Itoa(int(int32(r.args[r.dir])))
	}
	dir, err := t.link(int(t.proc.Fd()), link)
	if err != nil {
		return "", err
	}
	dir, inside := t.inside(dir)
	if !inside {
		return "", nil
	}
	return dir + "/" + name, nil
}

// link reads a link.
func (s *Server) link(dir int, name string) (string, error) {
	var buffer [pathMax]byte
	n, err := unix.Readlinkat(dir, name, buffer[:])
	if err != nil {
		return "", err
	}
	return string(buffer[:n]), nil
}

// inside gives the path in the command's root of what a link of /proc says, which is by this process's root.
func (s *Server) inside(text string) (string, bool) {
	below, is := strings.CutPrefix(text, s.path)
	switch {
	case !is || below != "" && below[0] != '/' && s.path != "/":
		return text, false
	case s.path == "/":
		return text, true
	case below == "":
		return "/", true
	}
	return below, true
}

// maxLinks is how many are followed, as in the kernel.
const maxLinks = 40

// leads says whether a path leads to /proc or below it, and by which name. Links to there are followed where they
// are usual.
func (s *Server) leads(name string, follow bool) (string, bool) {
	if name == "" {
		return "", false
	}
	name = clean(name)
	for range maxLinks {
		if below(name, "/proc") {
			return name, true
		}
		if !below(name, "/dev") && name != "/etc/mtab" {
			return name, false
		}
		next, is := s.firstLink(name, follow)
		if !is {
			return name, false
		}
		name = next
	}
	return name, false
}

// clean is path.Clean, but for a ".." above what a link of a process leads to, which is not above the link.
func clean(name string) string {
	if !strings.Contains(name, "..") || !strings.Contains(name, "proc") {
		return path.Clean(name)
	}
	var names []string
	for one := range strings.SplitSeq(name, "/") {
		n := len(names)
		switch {
		case one == "" || one == ".":
		case one != "..":
			names = append(names, one)
		case n > 1 && names[0] == "proc" && (names[n-1] == ".." || magic(names[1:]) == n-2):
			names = append(names, one)
		case n > 0:
			names = names[:n-1]
		}
	}
	return "/" + strings.Join(names, "/")
}

// firstLink gives the path that the first link in another one leads to.
func (s *Server) firstLink(name string, follow bool) (string, bool) {
	for end := 1; end <= len(name); end++ {
		if end < len(name) && name[end] != '/' {
			continue
		}
		if end == len(name) && !follow {
			break
		}
		fd, err := openat2.Open(int(s.Root.Fd()), name[:end], &unix.OpenHow{
			Flags: unix.O_PATH | unix.O_NOFOLLOW | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
		})
		if err != nil {
			return "", false
		}
		text, err := s.link(fd, "")
		unix.Close(fd)
		if err != nil {
			continue // it is no link
		}
		if !path.IsAbs(text) {
			text = path.Join(path.Dir(name[:end]), text)
		}
		return path.Join(text, name[end:]), true
	}
	return "", false
}

// below says whether a clean path is another one or below it.
func below(name, dir string) bool {
	return strings.HasPrefix(name, dir) && (len(name) == len(dir) || name[len(dir)] == '/')
}
