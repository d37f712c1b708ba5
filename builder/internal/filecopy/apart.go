//go:build linux

package filecopy

import (
	"errors"
	"os"
	"path"

	"golang.org/x/sys/unix"
)

// apart says whether what name stands for is set apart by Tree.Apart, or lies in a
// directory that is. Of what a walk comes to it is asked on the way, a directory before what is
// in it; but a name that a Dockerfile has may lead into the middle of what is set apart, so that
// the directories around it must be asked about, too.
func (w *walker) apart(name string) (bool, error) {
	if w.src.Apart == nil {
		return false, nil
	}
	real, err := Resolve(w.src.Root, name)
	var invalid *InvalidError
	if errors.As(err, &invalid) {
		return false, nil // it cannot be opened either
	}
	if err != nil {
		return false, err
	}
	for at := inside(real); at != ""; at = inside(path.Dir("/" + at)) {
		if w.notApart[at] {
			break
		}
		f, err := openIn(w.src.Root, at, unix.O_PATH|unix.O_NOFOLLOW)
		if noDir(err) {
			continue
		}
		if err != nil {
			return false, &os.PathError{Op: "open", Path: at, Err: err}
		}
		apart, err := w.fileApart(f)
		if err = errors.Join(err, f.Close()); err != nil || apart {
			return apart, err
		}
	}
	for at := inside(path.Dir(real)); at != ""; at = inside(path.Dir("/" + at)) {
		w.notApart[at] = true
	}
	return false, nil
}

// checkApart refuses a name of the Dockerfile that leads to what is set apart.
func (w *walker) checkApart(pattern, name string) error {
	apart, err := w.apart(name)
	if err == nil && apart {
		err = &NotFoundError{Path: pattern, Why: "it is part of the image store, which is not copied from"}
	}
	return err
}

// matchApart is apart for a name to which a pattern was walked, so that only the name
// itself is left to ask about, unless it is a link.
func (w *walker) matchApart(name string) (bool, error) {
	if w.src.Apart == nil {
		return false, nil
	}
	f, err := openIn(w.src.Root, name, unix.O_PATH|unix.O_NOFOLLOW)
	if noDir(err) {
		return false, nil // it has just been removed
	}
	if err != nil {
		return false, &os.PathError{Op: "open", Path: name, Err: err}
	}
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return false, &os.PathError{Op: "stat", Path: name, Err: err}
	}
	if st.Mode&unix.S_IFMT == unix.S_IFLNK {
		return w.apart(name)
	}
	return w.src.Apart(&st), nil
}

// fileApart is apart for an open directory by itself.
func (w *walker) fileApart(dir *os.File) (bool, error) {
	if w.src.Apart == nil {
		return false, nil
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(dir.Fd()), &st); err != nil {
		return false, &os.PathError{Op: "stat", Path: dir.Name(), Err: err}
	}
	return w.src.Apart(&st), nil
}

func (s *Tree) apart(st *unix.Stat_t) bool { return s.Apart != nil && s.Apart(st) }
