//go:build linux

package extract

import (
	"errors"
	"fmt"
	"hash/maphash"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/storage/openat2"
	"github.com/oakum-build/oakum/storage/tarfilter"
)

// place is an open directory, as a mere path, and where it is in root: a path without links, "" for root.
type place struct {
	dir  *os.File
	path string
}

func (p *place) join(name string) string {
	if p.path == "" {
		return name
	}
	return p.path + "/" + name
}

// make notes that the stream has filled a path; isMade tells.
func (x *extraction) make(path string) { x.made[maphash.String(x.seed, path)] = struct{}{} }

func (x *extraction) isMade(path string) bool {
	_, ok := x.made[maphash.String(x.seed, path)]
	return ok
}

// parent opens a directory of the stream, and makes what is missing of it. The place is valid until the next call.
func (x *extraction) parent(entry, dir string) (*place, error) {
	if x.last != nil && x.name == dir {
		return x.last, nil
	}
	x.forget()
	at, err := x.open(dir)
	if err != nil { // something is missing, or there is a link
		at, err = x.walk(entry, dir)
	}
	if err != nil {
		return nil, err
	}
	x.last, x.name = at, dir
	return at, nil
}

// forget closes the directory of the last entry: names may lead elsewhere now.
func (x *extraction) forget() {
	if x.last != nil {
		x.last.dir.Close()
		x.last = nil
	}
}

// open opens a directory of root by a path in which there is no link.
func (x *extraction) open(path string) (*place, error) {
	name := path
	if name == "" {
		name = "."
	}
	fd, err := openat2.Open(int(x.root.Fd()), name, &unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
	})
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return &place{os.NewFile(uintptr(fd), path), path}, nil
}

// maxLinks is how many links one path may go through, as in the kernel.
const maxLinks = 40

// walk goes to a directory of the stream one name after the other, makes those that are missing, and
// follows links as parent says. What is missing and left again by ".." is not made.
func (x *extraction) walk(entry, dir string) (*place, error) {
	at, err := x.open("")
	if err != nil {
		return nil, err
	}
	var missing []string
	links := 0
	for rest := strings.Split(dir, "/"); len(rest) > 0; {
		name := rest[0]
		rest = rest[1:]
		if len(missing) > 0 || name == "" || name == "." {
			missing = lexical(missing, name)
			continue
		}
		next, target, err := x.step(entry, at, name)
		switch {
		case err != nil:
			at.dir.Close()
			return nil, err
		case next != nil:
			at.dir.Close()
			at = next
		case target == "":
			missing = append(missing, name)
		default:
			if links++; links > maxLinks {
				at.dir.Close()
				return nil, &tarfilter.EntryError{Name: entry, Why: "leads through more than 40 links"}
			}
			rest = append(strings.Split(target, "/"), rest...)
			if strings.HasPrefix(target, "/") {
				at.dir.Close()
				if at, err = x.open(""); err != nil {
					return nil, err
				}
			}
		}
	}
	return x.imply(at, missing)
}

// lexical adds a name to a path of which nothing exists.
func lexical(path []string, name string) []string {
	switch name {
	case "", ".":
		return path
	case "..":
		return path[:len(path)-1]
	}
	return append(path, name)
}

// step goes one name further, and gives the place there. Without an error there is none when there is a link to
// follow, which has a target, or when nothing is there.
func (x *extraction) step(entry string, at *place, name string) (next *place, target string, err error) {
	if name == ".." {
		next, err = x.open(at.path[:max(0, strings.LastIndexByte(at.path, '/'))])
		return next, "", err
	}
	here := at.join(name)
	fd, err := openDir(at.dir, name)
	switch {
	case err == nil:
		return &place{os.NewFile(uintptr(fd), here), here}, "", nil
	case errors.Is(err, unix.ENOENT):
		return nil, "", nil
	case errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ELOOP):
		target, err = x.inTheWay(entry, at, name)
		return nil, target, err
	}
	return nil, "", &os.PathError{Op: "open", Path: here, Err: err}
}

// openDir opens a directory as a mere path, and follows no link.
func openDir(dir *os.File, name string) (int, error) {
	return unix.Openat(int(dir.Fd()), name, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
}

// inTheWay looks at what is no directory where one is needed. It gives the target of a link that is followed, and
// removes what is of a layer below.
func (x *extraction) inTheWay(entry string, at *place, name string) (target string, err error) {
	here := at.join(name)
	below := x.alone && !x.isMade(here)
	if below {
		return "", x.remove(at.dir, name)
	}
	target, err = readlink(at.dir, name)
	if errors.Is(err, unix.EINVAL) {
		return "", &tarfilter.EntryError{Name: entry, Why: fmt.Sprintf("lies in %q, which is no directory", "/"+here)}
	}
	if err != nil {
		return "", &os.PathError{Op: "readlink", Path: here, Err: err}
	}
	return target, nil
}

func readlink(dir *os.File, name string) (string, error) {
	buf := make([]byte, maxPath+1)
	n, err := unix.Readlinkat(int(dir.Fd()), name, buf)
	if err != nil {
		return "", err
	}
	return string(buf[:n]), nil
}

// implied is the mode of directories for which a stream has no entry.
const implied = 0o755

// imply makes directories in at for which the stream has no entry, or has it later, and opens the last. It closes
// at, unless that is what it gives.
func (x *extraction) imply(at *place, missing []string) (*place, error) {
	for _, name := range missing {
		here := at.join(name)
		x.make(here)
		err := unix.Mkdirat(int(at.dir.Fd()), name, implied)
		fd := -1
		if err == nil {
			fd, err = openDir(at.dir, name)
		}
		at.dir.Close()
		if err != nil {
			return nil, &os.PathError{Op: "mkdir", Path: here, Err: err}
		}
		at = &place{os.NewFile(uintptr(fd), here), here}
		err = x.Owners.Chown(at.dir, "", 0, 0)
		if err == nil {
			err = x.Owners.Chmod(at.dir, "", implied)
		}
		if err != nil {
			at.dir.Close()
			return nil, err
		}
	}
	return at, nil
}
