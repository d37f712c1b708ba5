//go:build linux

package filecopy

import (
	"errors"
	"fmt"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/builder/internal/owners"
)

// maxLinks is how many links one path may go through, as in the kernel.
const maxLinks = 40

// Resolve gives the path without links that name stands for inside root, as if root
// were /. What does not exist is taken as it stands, also behind a dangling link: COPY
// and WORKDIR make what such a link points to.
func Resolve(root *os.File, name string) (string, error) {
	done, rest, links := "/", strings.Split(name, "/"), 0
	for len(rest) > 0 {
		part := rest[0]
		rest = rest[1:]
		switch part {
		case "", ".":
			continue
		case "..":
			done = path.Dir(done)
			continue
		}
		target, isLink, err := linkAt(root, done, part)
		if err != nil {
			return "", &os.PathError{Op: "resolve", Path: name, Err: err}
		}
		if !isLink {
			done = path.Join(done, part)
			continue
		}
		if links++; links > maxLinks {
			return "", &InvalidError{name + " goes through too many links"}
		}
		if path.IsAbs(target) {
			done = "/"
		}
		rest = append(strings.Split(target, "/"), rest...)
	}
	return done, nil
}

// linkAt reads the link name in dir, a path without links.
func linkAt(root *os.File, dir, name string) (string, bool, error) {
	d, err := openIn(root, dir, unix.O_PATH|unix.O_DIRECTORY)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		return "", false, nil
	}
	if err != nil {
		return "", false, err
	}
	defer d.Close()
	target, err := readlink(&entry{dir: d, name: name})
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EINVAL) {
		return "", false, nil // it does not exist, or is no link
	}
	return target, err == nil, err
}

// MakeDirs makes dir in root with its missing parents and opens it. Only directories
// that it makes get the owner and the permissions, by the Owners of root. Links are followed
// inside root, dangling ones too.
func MakeDirs(root *os.File, own *owners.Owners, dir string, owner IDs, perm uint32) (*os.File, error) {
	real, err := Resolve(root, dir)
	if err != nil {
		return nil, err
	}
	at, err := openIn(root, "/", unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: "/", Err: err}
	}
	for part := range strings.SplitSeq(strings.Trim(real, "/"), "/") {
		if part == "" {
			continue
		}
		next, err := makeDir(at, own, part, owner, perm)
		at.Close()
		if errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
			return nil, &InvalidError{fmt.Sprintf("cannot make the directory %s: %s is not a directory", dir, part)}
		}
		if err != nil {
			return nil, fmt.Errorf("making the directory %s: %w", dir, err)
		}
		at = next
	}
	return at, nil
}

func makeDir(parent *os.File, own *owners.Owners, name string, owner IDs, perm uint32) (*os.File, error) {
	err := unix.Mkdirat(int(parent.Fd()), name, 0o755)
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return nil, &os.PathError{Op: "mkdir", Path: name, Err: err}
	}
	made := err == nil
	d, err := openChild(parent, name, unix.O_RDONLY|unix.O_DIRECTORY)
	if errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
		return nil, &InvalidError{name + " is not a directory"}
	}
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: name, Err: err}
	}
	if made {
		if err := errors.Join(own.Chown(d, "", owner.UID, owner.GID), own.Chmod(d, "", perm)); err != nil {
			d.Close()
			return nil, err
		}
	}
	return d, nil
}
