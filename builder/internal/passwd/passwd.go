//go:build linux

// Package passwd finds the users and groups of a root file system, whose /etc/passwd and
// /etc/group are foreign files, and says which ids this process's user namespace has.
package passwd

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/sys/user"
	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/builder/foreign"
	"github.com/oakum-build/oakum/builder/internal/errdefs"
	"github.com/oakum-build/oakum/builder/limits"
)

// User is a user of a root file system: its ids, all its groups, of which the first is GID,
// and its home directory.
type User struct {
	UID, GID int
	Groups   []int
	Home     string
}

// maxID is the largest user or group id that is taken, as in containerd.
const maxID = 1<<31 - 1

// LookupUser resolves user[:group], names or numbers, by /etc/passwd and /etc/group of
// a root file system; "" is root (Dockerfile reference, USER). The files are read line by
// line, and no further than what is looked for.
func LookupUser(root *os.File, spec string) (User, error) {
	name, group, _ := strings.Cut(spec, ":")
	group, _, _ = strings.Cut(group, ":")
	u := User{Home: "/"}
	known, err := u.find(root, name)
	if err == nil && (group != "" || known != "") {
		err = u.join(root, known, group)
	}
	switch {
	case errors.Is(err, errdefs.ErrUserNotFound) && name == "root" && group == "":
		// As in BuildKit, root needs no entry.
		return User{Home: "/", Groups: []int{0}}, nil
	case errors.Is(err, errdefs.ErrUserNotFound):
		return User{}, fmt.Errorf("%q: %w", spec, err)
	case err != nil:
		return User{}, err
	}
	// Without its own group in the list a process could shed it (CVE-2022-2990).
	u.Groups = append([]int{u.GID}, slices.DeleteFunc(u.Groups, func(g int) bool { return g == u.GID })...)
	return u, nil
}

// find fills in what /etc/passwd says of a user, and gives the name that it has there, or
// "" for a number that has none.
func (u *User) find(root *os.File, name string) (known string, err error) {
	wanted, isNumber, err := number(name)
	if err != nil {
		return "", err
	}
	isNumber = isNumber || name == ""
	found, err := first(root, "/etc/passwd", user.ParsePasswdFilter, func(p user.User) bool {
		if isNumber {
			return p.Uid == wanted
		}
		return p.Name == name
	})
	switch {
	case err != nil:
		return "", err
	case found == nil && !isNumber:
		return "", fmt.Errorf("%w: /etc/passwd has no user %s", errdefs.ErrUserNotFound, name)
	case found == nil:
		u.UID = wanted
		return "", nil
	case found.Uid < 0 || found.Uid > maxID || found.Gid < 0 || found.Gid > maxID:
		return "", fmt.Errorf("%w: the ids of user %s in /etc/passwd are not from 0 to %d", errdefs.ErrUserNotFound, name, maxID)
	}
	u.UID, u.GID, u.Home = found.Uid, found.Gid, found.Home
	return found.Name, nil
}

// join sets the group, or without one adds the groups of which the user of that name is a
// member.
func (u *User) join(root *os.File, name, group string) error {
	if group == "" {
		return each(root, "/etc/group", user.ParseGroupFilter, func(g user.Group) (bool, error) {
			if !slices.Contains(g.List, name) || g.Gid < 0 || g.Gid > maxID {
				return true, nil
			}
			if len(u.Groups) == limits.MaxGroups {
				return false, &limits.LimitError{Name: "/etc/group", What: "the number of groups of " + name, Limit: limits.MaxGroups, Unit: "groups"}
			}
			u.Groups = append(u.Groups, g.Gid)
			return true, nil
		})
	}
	wanted, isNumber, err := number(group)
	if err != nil {
		return err
	}
	found, err := first(root, "/etc/group", user.ParseGroupFilter, func(g user.Group) bool {
		if isNumber {
			return g.Gid == wanted
		}
		return g.Name == group
	})
	switch {
	case err != nil:
		return err
	case isNumber:
		u.GID = wanted
	case found == nil:
		return fmt.Errorf("%w: /etc/group has no group %s", errdefs.ErrUserNotFound, group)
	case found.Gid < 0 || found.Gid > maxID:
		return fmt.Errorf("%w: the id of group %s in /etc/group is not from 0 to %d", errdefs.ErrUserNotFound, group, maxID)
	default:
		u.GID = found.Gid
	}
	return nil
}

// AddGroups gives a user further groups, names or numbers, by /etc/group of a root file system.
func (u *User) AddGroups(root *os.File, groups []string) error {
	for _, group := range groups {
		var with User
		if err := with.join(root, "", group); err != nil {
			return err
		}
		if slices.Contains(u.Groups, with.GID) {
			continue
		}
		if len(u.Groups) == limits.MaxGroups {
			return &limits.LimitError{What: "the number of groups", Limit: limits.MaxGroups, Unit: "groups"}
		}
		u.Groups = append(u.Groups, with.GID)
	}
	return nil
}

// number reads an id. What is no number is a name.
func number(text string) (id int, isNumber bool, err error) {
	id, err = strconv.Atoi(text)
	if errors.Is(err, strconv.ErrSyntax) {
		return 0, false, nil
	}
	if err != nil || id < 0 || id > maxID {
		return 0, true, fmt.Errorf("%w: %s is not from 0 to %d", errdefs.ErrUserNotFound, text, maxID)
	}
	return id, true, nil
}

// first gives the first line of a file that matches, or nil.
func first[T any](root *os.File, name string, parse parser[T], match func(T) bool) (found *T, err error) {
	err = each(root, name, parse, func(entry T) (bool, error) {
		if match(entry) {
			found = &entry
		}
		return found == nil, nil
	})
	return found, err
}

// parser is one of package user's: it calls filter with each line of a file.
type parser[T any] func(r io.Reader, filter func(T) bool) ([]T, error)

// each visits the lines of a file inside root while visit returns true. A file that is
// missing has none.
func each[T any](root *os.File, name string, parse parser[T], visit func(T) (bool, error)) error {
	f, err := foreign.Open(root, name)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	in := &lines{LimitedReader: io.LimitedReader{R: f, N: limits.MaxUserFile + 1}}
	var fault error
	_, err = parse(in, func(entry T) bool {
		if !in.done {
			var more bool
			more, fault = visit(entry)
			in.done = !more || fault != nil
		}
		return false // so that nothing is kept
	})
	switch {
	case fault != nil || in.done:
		return fault
	case errors.Is(err, bufio.ErrTooLong):
		limit := &limits.LimitError{Name: name, What: "the length of a line", Limit: bufio.MaxScanTokenSize, Unit: "bytes"}
		if name == "/etc/group" { // where package user takes longer ones
			limit.Limit = 1 << 20
		}
		return limit
	case err == nil && in.N == 0:
		return &limits.LimitError{Name: name, Limit: limits.MaxUserFile, Unit: "bytes"}
	}
	return err
}

// lines ends when it is done.
type lines struct {
	io.LimitedReader
	done bool
}

func (l *lines) Read(p []byte) (int, error) {
	if l.done {
		return 0, io.EOF
	}
	return l.LimitedReader.Read(p)
}

// LookupOwner resolves the owner of --chown. Without a group, with a colon or not, a number
// is in the group of that number, and a name in that of its entry in /etc/passwd
// (Dockerfile reference, COPY --chown). "root" is 0 without any entry, as in BuildKit.
func LookupOwner(root *os.File, spec string) (uid, gid int, err error) {
	name, group, _ := strings.Cut(spec, ":")
	if strings.Contains(group, ":") {
		return 0, 0, fmt.Errorf("%q: %w: /etc/group has no group %s", spec, errdefs.ErrUserNotFound, group)
	}
	if name == "root" {
		name = "0"
	}
	if group == "root" {
		group = "0"
	}
	if group == "" {
		if n, err := strconv.ParseUint(name, 10, 31); err == nil {
			return int(n), int(n), nil
		}
		u, err := LookupUser(root, name)
		return u.UID, u.GID, err
	}
	if name == "" {
		name = "0"
	}
	u, err := LookupUser(root, name+":"+group)
	return u.UID, u.GID, err
}

// LookupDirOwner is LookupOwner for the directories of WORKDIR, where a user or group
// that is not there is root, or the user's, as in BuildKit and Buildah; so is "".
func LookupDirOwner(root *os.File, spec string) (uid, gid int, err error) {
	if spec == "" {
		return 0, 0, nil
	}
	name, group, hasGroup := strings.Cut(spec, ":")
	if uid, gid, err = LookupOwner(root, spec); !errors.Is(err, errdefs.ErrUserNotFound) {
		return uid, gid, err
	}
	if uid, gid, err = LookupOwner(root, name); errors.Is(err, errdefs.ErrUserNotFound) {
		uid, gid, err = 0, 0, nil
	}
	if err == nil && hasGroup {
		_, its, groupErr := LookupOwner(root, "0:"+group)
		if groupErr == nil {
			gid = its
		} else if !errors.Is(groupErr, errdefs.ErrUserNotFound) {
			err = groupErr
		}
	}
	return uid, gid, err
}
