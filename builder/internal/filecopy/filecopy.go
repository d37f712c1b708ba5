//go:build linux

// Package filecopy selects files of a directory tree by the rules of COPY, digests
// them for a cache key, and copies them into a root file system.
//
// Source and destination are hostile: every path is walked by descriptor, one
// component at a time without following links, or resolved by openat2 inside its
// root. Digesting and copying are one walk: a copy gives the digest of what it
// copied, so that nothing is read twice.
package filecopy

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/moby/patternmatcher"
	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/builder/bytetext"
	"github.com/oakum-build/oakum/builder/internal/owners"
	"github.com/oakum-build/oakum/storage/fingerprints"
)

// IDs is an owner.
type IDs struct{ UID, GID int }

// Tree is a directory tree, what is taken of it, and how.
type Tree struct {
	Root   *os.File       // a directory, open for reading or as a mere path (O_PATH)
	Owners *owners.Owners // what the files should be, where they are not
	Selection
	Owner   *IDs  // nil keeps the owners
	Chowned bool  // Owner is also that of what archives hold
	Mode    *Mode // nil keeps the modes
	Packed  bool  // leaves archives as they are, whatever Target.Unpack says
	Timed   bool  // files of other times are other files
	Top     bool  // the directory that is selected counts itself, as where it is not copied but shown
	Sockets bool  // takes sockets as empty files; else they are left out
	// KeepDirs leaves directories that are there already as they are, but for what comes into
	// them: those of the source say nothing of their own.
	KeepDirs bool
	// Apart, when not nil, says of what is met below Root that it is neither read nor
	// copied, with all in it.
	Apart func(st *unix.Stat_t) bool
	// Outside says that this process is not in the user namespace in which the files would be copied. Capabilities
	// of files say something else there, and one that has any is ErrOutside.
	Outside bool
	// Sums, when not nil, knows the digests of files that have not changed.
	Sums FileSums
	// Listing, when not nil, collects what a walk of the tree meets.
	Listing *fingerprints.Listing
}

// FileSums remembers the digests of files whose stat data have not changed.
type FileSums interface {
	Get(st *unix.Stat_t) ([32]byte, bool)
	Put(st *unix.Stat_t, sum [32]byte)
}

// entry is a selected file with what opens it.
type entry struct {
	dir  *os.File // the directory that holds it
	name string   // in dir
	rel  string   // path below the destination
	from string   // path in the tree
	st   *unix.Stat_t

	socket   bool // taken as an empty file
	onTheWay bool // a directory that --parents or --exclude only passes through

	attrs     []owners.Xattr // read once, for the digest and for the copy
	left      []string       // the names of those of storage drivers, which are not
	attrsRead bool
}

func (e *entry) kind() uint32 { return e.st.Mode & unix.S_IFMT }

// taken says whether an entry is copied, and makes a socket an empty file.
func (e *entry) taken(src *Tree) bool {
	if e.kind() != unix.S_IFSOCK {
		return true
	}
	e.st.Mode, e.st.Nlink, e.st.Size = e.st.Mode&^unix.S_IFMT|unix.S_IFREG, 1, 0
	e.socket = true
	return src.Sockets
}

// visitor is told of each selected file, parents first, in an order that depends on
// names alone.
type visitor interface {
	// top starts one selected item; name is its base name.
	top(src *Tree, name string, isDir bool) error
	visit(src *Tree, e *entry) error
	// leave ends a directory whose content has been visited.
	leave(src *Tree, e *entry) error
}

type walker struct {
	ctx     context.Context
	src     *Tree
	v       visitor
	ignore  *patternmatcher.PatternMatcher
	exclude *patternmatcher.PatternMatcher
	// pending are the directories around the present one. One that is not selected
	// itself is visited when something in it is.
	pending []*pendingDir
	// notApart are directories, without links, that apart has been asked about.
	notApart map[string]bool
}

type pendingDir struct {
	*entry
	visited bool
}

// walk tells a visitor of what is taken of a source.
func walk(ctx context.Context, src *Tree, v visitor) error {
	w := &walker{ctx: ctx, src: src, v: v, notApart: map[string]bool{}}
	var err error
	if w.ignore, err = matcher(src.Ignore); err != nil {
		return &InvalidError{fmt.Sprintf("ignore patterns: %v", err)}
	}
	if w.exclude, err = matcher(src.Exclude); err != nil {
		return &InvalidError{fmt.Sprintf("exclude patterns: %v", err)}
	}
	patterns := src.Patterns
	if len(patterns) == 0 {
		patterns = []string{"/"}
	}
	visit := w.pattern
	if src.Parents {
		visit = w.parents
	}
	for _, p := range patterns {
		if err := visit(p); err != nil {
			return err
		}
	}
	return nil
}

func matcher(patterns []string) (*patternmatcher.PatternMatcher, error) {
	if len(patterns) == 0 {
		return nil, nil
	}
	clean := make([]string, len(patterns))
	for i, p := range patterns {
		// As in Docker's .dockerignore a slash at the beginning has no meaning.
		p, not := strings.CutPrefix(strings.TrimSpace(p), "!")
		if strings.HasPrefix(p, "/") {
			p = inside(p)
		}
		if not {
			p = "!" + p
		}
		clean[i] = bytetext.Encode(p) // as each path is that is compared with it
	}
	return patternmatcher.New(clean)
}

// named visits one selected item. A link that is named itself is followed.
func (w *walker) named(pattern, name string) error {
	hidden, real, err := w.hidden(name)
	if err != nil {
		return err
	}
	if hidden {
		return &NotFoundError{Path: pattern, Why: "no such file or directory, or left out by the ignore file"}
	}
	f, err := openIn(w.src.Root, name, unix.O_PATH)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		return w.missing(pattern, name)
	}
	if errors.Is(err, unix.ELOOP) {
		return &NotFoundError{Path: pattern, Why: "its links lead in a circle, or are too many"}
	}
	if err != nil {
		return fmt.Errorf("%q: %w", pattern, err)
	}
	defer f.Close()
	var st unix.Stat_t
	if err := w.src.Owners.Stat(f, "", &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return w.topDir(name, real, &st)
	}
	return w.topFile(f, name, &st)
}

// missing says of a name that leads to nothing where it leads.
func (w *walker) missing(pattern, name string) error {
	real, err := Resolve(w.src.Root, name)
	if err != nil || inside(real) == inside(name) {
		return &NotFoundError{Path: pattern, Why: "no such file or directory"}
	}
	return &NotFoundError{Path: pattern, Why: fmt.Sprintf("a link leads to %q, and nothing is there; links stay within what is copied from, as if that were /", real)}
}

// topDir visits a directory, which is called name and lies at real.
func (w *walker) topDir(name, real string, st *unix.Stat_t) error {
	dir, err := openIn(w.src.Root, name, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return fmt.Errorf("%q: %w", name, err)
	}
	defer dir.Close()
	if err := w.v.top(w.src, path.Base("/"+name), true); err != nil {
		return err
	}
	e := &entry{dir: dir, name: ".", from: real, st: st}
	if err := w.v.visit(w.src, e); err != nil {
		return err
	}
	if err := w.children(dir, real, ""); err != nil {
		return err
	}
	return w.v.leave(w.src, e)
}

// topFile visits a single file through its own descriptor, for its name may have been
// a link.
func (w *walker) topFile(f *os.File, name string, st *unix.Stat_t) error {
	base := path.Base(name)
	if w.exclude != nil {
		if skip, err := w.exclude.MatchesOrParentMatches(bytetext.Encode(base)); err != nil || skip {
			return err
		}
	}
	e := &entry{dir: f, name: "", from: name, st: st}
	if !e.taken(w.src) {
		return nil
	}
	if err := w.v.top(w.src, base, false); err != nil {
		return err
	}
	return w.v.visit(w.src, e)
}

// children visits a directory's content. srcRel is its path below the source's root,
// rel below the destination.
func (w *walker) children(dir *os.File, srcRel, rel string) error {
	if err := w.ctx.Err(); err != nil {
		return err
	}
	names, err := readNames(dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := w.child(dir, name, joined(srcRel, name), joined(rel, name)); err != nil {
			return err
		}
	}
	return nil
}

// joined is path.Join for a clean path, "" for the root, and a name.
func joined(dir, name string) string {
	if dir == "" {
		return name
	}
	return dir + "/" + name
}

func (w *walker) child(dir *os.File, name, srcRel, rel string) error {
	out, err := w.leftOut(srcRel, rel)
	if err != nil || out.all {
		return err
	}
	var st unix.Stat_t
	if err := w.src.Owners.Stat(dir, name, &st); err != nil {
		if errors.Is(err, unix.ENOENT) {
			return nil // removed while we walk
		}
		return fmt.Errorf("%s: %w", srcRel, err)
	}
	if w.src.apart(&st) {
		return nil
	}
	e := &entry{dir: dir, name: name, rel: rel, from: srcRel, st: &st}
	if e.kind() != unix.S_IFDIR {
		if out.ignored || out.excluded || !e.taken(w.src) {
			return nil
		}
		return w.visit(e)
	}
	e.onTheWay = out.excluded
	return w.childDir(e, srcRel, rel, out.ignored || out.excluded)
}

// visit visits a selected entry, after the directories around it.
func (w *walker) visit(e *entry) error {
	for _, p := range w.pending {
		if p.visited {
			continue
		}
		p.visited = true
		if err := w.v.visit(w.src, p.entry); err != nil {
			return err
		}
	}
	return w.v.visit(w.src, e)
}

// around walks through a directory that is visited only when something in it is.
func (w *walker) around(e *entry, walk func() error) error {
	p := &pendingDir{entry: e}
	w.pending = append(w.pending, p)
	err := walk()
	w.pending = w.pending[:len(w.pending)-1]
	if err != nil || !p.visited {
		return err
	}
	return w.v.leave(w.src, e)
}

// left says how a path is left out, and whether all below it is.
type left struct{ ignored, excluded, all bool }

func (w *walker) leftOut(srcRel, rel string) (out left, err error) {
	for _, by := range []struct {
		m    *patternmatcher.PatternMatcher
		path string
		out  *bool
	}{{w.ignore, srcRel, &out.ignored}, {w.exclude, rel, &out.excluded}} {
		if by.m == nil || by.path == "" {
			continue
		}
		if *by.out, err = by.m.MatchesOrParentMatches(bytetext.Encode(by.path)); err != nil {
			return left{}, err
		}
		out.all = out.all || *by.out && !reincludes(by.m, by.path)
	}
	return out, nil
}

// reincludes says whether a "!" pattern may name something in a directory that is left
// out, so that it has to be read.
func reincludes(m *patternmatcher.PatternMatcher, dir string) bool {
	names := strings.Split(bytetext.Encode(dir), "/")
	return slices.ContainsFunc(m.Patterns(), func(p *patternmatcher.Pattern) bool {
		if !p.Exclusion() {
			return false
		}
		components := strings.Split(p.String(), "/")
		for i, name := range names {
			if i == len(components) {
				return false // it names a directory around this one, and did not save it
			}
			if strings.Contains(components[i], "**") {
				return true
			}
			if ok, err := path.Match(components[i], name); err == nil && !ok {
				return false
			}
		}
		return len(components) > len(names)
	})
}

func (w *walker) childDir(e *entry, srcRel, rel string, skipSelf bool) error {
	sub, err := openChild(e.dir, e.name, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return fmt.Errorf("%s: %w", srcRel, err)
	}
	defer sub.Close()
	if skipSelf {
		return w.around(e, func() error { return w.children(sub, srcRel, rel) })
	}
	if err := w.visit(e); err != nil {
		return err
	}
	if err := w.children(sub, srcRel, rel); err != nil {
		return err
	}
	return w.v.leave(w.src, e)
}

func (w *walker) ignored(name string) (bool, error) {
	if w.ignore == nil || name == "" {
		return false, nil
	}
	return w.ignore.MatchesOrParentMatches(bytetext.Encode(name))
}
