//go:build linux

package filecopy

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// parents visits what one pattern of COPY --parents names, with the directories that
// it names on the way. What stands before the first "/./" only says where to look
// (Dockerfile reference, COPY --parents). After it "**" is any number of components,
// none included, and links are not followed.
func (w *walker) parents(p string) error {
	base, rest, found := strings.Cut(p, "/./")
	if !found {
		base, rest = "", p
	}
	base, rest = inside(base), inside(rest)
	components := strings.Split(rest, "/")
	if rest == "" {
		components = nil // all that is there
	}
	for _, c := range components {
		if _, err := matchName(c, ""); err != nil {
			return &InvalidError{fmt.Sprintf("pattern %q: %v", p, err)}
		}
	}
	var bases []string
	var err error
	if isPattern(base) {
		bases, err = w.matches(p, base)
	} else if name, failed := exactly(base); failed == nil {
		bases = []string{name}
	} else {
		err = failed
	}
	if err != nil {
		return err
	}
	exact := !isPattern(base) && !isPattern(rest)
	for _, base := range bases {
		t := &parentsWalk{walker: w, components: components}
		err := t.from(base)
		if (errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR)) && !exact {
			continue // as a pattern that matches nothing
		}
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || (err == nil && exact && !t.matched) {
			return &NotFoundError{Path: p, Why: "no such file or directory, left out by the ignore file, or behind a link"}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// parentsWalk is the walk through a directory for one pattern of COPY --parents.
type parentsWalk struct {
	*walker
	components []string
	matched    bool
}

func (t *parentsWalk) from(base string) error {
	hidden, real, err := t.hidden(base)
	if err != nil {
		return err
	}
	if hidden {
		return unix.ENOENT
	}
	if apart, err := t.apart(base); err != nil || apart {
		return cmp.Or(err, error(unix.ENOENT))
	}
	dir, err := openIn(t.src.Root, base, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := t.v.top(t.src, path.Base("/"+base), true); err != nil {
		return err
	}
	at := t.closure([]int{0})
	if t.complete(at) {
		t.matched = true
		return t.children(dir, real, "")
	}
	return t.descend(dir, real, "", at)
}

// closure adds the places that follow a "**" without using up a name.
func (t *parentsWalk) closure(at []int) []int {
	for i := 0; i < len(at); i++ {
		if n := at[i]; n < len(t.components) && t.components[n] == "**" && !slices.Contains(at, n+1) {
			at = append(at, n+1)
		}
	}
	return at
}

// complete says whether one of the places is the pattern's end.
func (t *parentsWalk) complete(at []int) bool { return slices.Contains(at, len(t.components)) }

// step gives the places in the pattern after a name.
func (t *parentsWalk) step(at []int, name string) []int {
	var next []int
	for _, n := range at {
		after := -1
		switch {
		case n == len(t.components):
		case t.components[n] == "**":
			after = n
		default:
			if ok, err := matchName(t.components[n], name); err == nil && ok {
				after = n + 1
			}
		}
		if after >= 0 && !slices.Contains(next, after) {
			next = append(next, after)
		}
	}
	return t.closure(next)
}

// descend visits what matches below a directory that has come to the places at.
func (t *parentsWalk) descend(dir *os.File, srcRel, rel string, at []int) error {
	if err := t.ctx.Err(); err != nil {
		return err
	}
	names, err := readNames(dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		next := t.step(at, name)
		if len(next) == 0 {
			continue
		}
		if t.complete(next) {
			err = t.selected(dir, name, path.Join(srcRel, name), path.Join(rel, name))
		} else {
			err = t.enter(dir, name, path.Join(srcRel, name), path.Join(rel, name), next)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// selected visits a match, all of it when it is a directory.
func (t *parentsWalk) selected(dir *os.File, name, srcRel, rel string) error {
	out, err := t.leftOut(srcRel, rel)
	if err != nil || out.all {
		return err
	}
	t.matched = t.matched || !(out.ignored || out.excluded)
	return t.child(dir, name, srcRel, rel)
}

// enter goes through a directory whose path is a match so far.
func (t *parentsWalk) enter(dir *os.File, name, srcRel, rel string, at []int) error {
	if out, err := t.leftOut(srcRel, rel); err != nil || out.all {
		return err
	}
	sub, err := openChild(dir, name, unix.O_RDONLY|unix.O_DIRECTORY)
	if errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s: %w", srcRel, err)
	}
	defer sub.Close()
	var st unix.Stat_t
	if err := t.src.Owners.Stat(sub, "", &st); err != nil {
		return fmt.Errorf("%s: %w", srcRel, err)
	}
	if t.src.apart(&st) {
		return nil
	}
	e := &entry{dir: dir, name: name, rel: rel, from: srcRel, st: &st, onTheWay: true}
	return t.around(e, func() error { return t.descend(sub, srcRel, rel, at) })
}
