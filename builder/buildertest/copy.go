package buildertest

import (
	"archive/tar"
	"bytes"
	"compress/bzip2"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/moby/patternmatcher"

	"github.com/oakum-build/oakum/builder"
	"github.com/oakum-build/oakum/builder/internal/filecopy"
	"github.com/oakum-build/oakum/builder/internal/input"
)

// taken is a file that a source gives: where it goes, and what it is.
type taken struct {
	name     string // below the destination; "" is the destination itself
	contents bool   // it is of a directory, whose contents are taken
	file     file
}

// take gives what a selection takes of a file system, in the order of the names.
func take(fsys fs.FS, src input.Source) ([]taken, error) {
	hidden, err := matcher(src.Ignore)
	if err != nil {
		return nil, err
	}
	excluded, err := matcher(src.Exclude)
	if err != nil {
		return nil, err
	}
	s := selection{fsys: fsys, src: src, left: func(name string) bool { return hidden(name) || excluded(name) }, hidden: hidden}
	patterns := src.Patterns
	if len(patterns) == 0 {
		patterns = []string{"."}
	}
	for _, p := range patterns {
		if err := s.pattern(p); err != nil {
			return nil, err
		}
	}
	return s.all, nil
}

// matcher says what patterns of .dockerignore match.
func matcher(patterns []string) (func(name string) bool, error) {
	if len(patterns) == 0 {
		return func(string) bool { return false }, nil
	}
	m, err := patternmatcher.New(patterns)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", builder.ErrInvalid, err)
	}
	return func(name string) bool {
		matched, err := m.MatchesOrParentMatches(name)
		return err == nil && matched
	}, nil
}

type selection struct {
	fsys   fs.FS
	src    input.Source
	left   func(name string) bool
	hidden func(name string) bool
	all    []taken
}

func (s *selection) pattern(p string) error {
	_, pivot, _ := strings.Cut(p, "/./")
	at := clean(p)
	if at == "" {
		at = "."
	}
	if !strings.ContainsAny(at, `*?[\`) {
		if at != "." && s.hidden(at) {
			return fmt.Errorf("%w: %s is ignored", builder.ErrNotFound, p)
		}
		return s.named(at, pivot)
	}
	names, err := fs.Glob(s.fsys, at)
	if err != nil {
		return fmt.Errorf("%w: %s: %w", builder.ErrInvalid, p, err)
	}
	slices.Sort(names)
	for _, name := range names {
		if s.left(name) {
			continue
		}
		if err := s.named(name, pivot); err != nil {
			return err
		}
	}
	return nil
}

// named takes the file of that name, or what the directory of that name has in it.
func (s *selection) named(name, pivot string) error {
	info, err := fs.Stat(s.fsys, name)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %s", builder.ErrNotFound, name)
	}
	if err != nil {
		return err
	}
	to := func(name string) string { return name }
	if s.src.Parents {
		to = func(n string) string {
			if pivot == "" {
				return n
			}
			return strings.TrimPrefix(n, strings.TrimSuffix(clean(strings.TrimSuffix(name, clean(pivot))), "/")+"/")
		}
	}
	if !info.IsDir() {
		into := path.Base(name)
		if s.src.Parents {
			into = to(name)
		}
		return s.add(name, into, false, info)
	}
	return fs.WalkDir(s.fsys, name, func(at string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel := strings.TrimPrefix(strings.TrimPrefix(at, name), "/")
		if name == "." {
			rel = at
		}
		if at == name {
			rel = ""
		} else if s.left(at) {
			return nil // what is below may be kept by an exception
		}
		if s.src.Parents {
			rel = to(at)
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		return s.add(at, rel, true, info)
	})
}

func (s *selection) add(name, to string, contents bool, info fs.FileInfo) error {
	f := file{mode: info.Mode(), time: info.ModTime()}
	if own, ok := info.Sys().(*file); ok {
		f.uid, f.gid = own.uid, own.gid
	}
	if !s.src.KeepsOwners() {
		f.uid, f.gid = 0, 0
	}
	var err error
	switch f.mode.Type() {
	case 0:
		f.data, err = fs.ReadFile(s.fsys, name)
	case fs.ModeDir:
	case fs.ModeSymlink:
		f.link, err = fs.ReadLink(s.fsys, name)
		if own, ok := info.Sys().(*file); ok {
			f.link = own.link
		}
	case fs.ModeSocket:
		return nil
	default:
		err = fmt.Errorf("%w: %s is a special file", builder.ErrInvalid, name)
	}
	s.all = append(s.all, taken{to, contents, f})
	return err
}

// digest is that of what is taken.
func digest(all []taken, timed bool) string {
	h := sha256.New()
	for _, t := range all {
		fmt.Fprintf(h, "%q %t %v %d %d %q %x\n", t.name, t.contents, t.file.mode, t.file.uid, t.file.gid, t.file.link, sha256.Sum256(t.file.data))
		if timed {
			fmt.Fprintln(h, t.file.time.Unix())
		}
	}
	return hex.EncodeToString(h.Sum(nil))
}

// placing is how files are put into a tree.
type placing struct {
	dest   string // absolute
	dir    bool   // it is a directory
	unpack bool
	keeps  bool // directories that are there stay as they are
	owner  *[2]int
	mode   *filecopy.Mode
}

// place puts what was taken into the tree.
func (t tree) place(all []taken, p placing) error {
	at, err := t.resolve(p.dest, true)
	if err != nil {
		return err
	}
	for _, one := range all {
		f, name := one.file, path.Join(at, one.name)
		if !one.contents && !p.dir && !t.isDir(at) && !strings.Contains(one.name, "/") {
			name = at
		}
		if p.owner != nil {
			f.uid, f.gid = p.owner[0], p.owner[1]
		}
		if p.mode != nil && f.link == "" {
			bits := uint32(f.mode.Perm())
			if f.mode.IsDir() {
				bits |= 0o40000
			}
			f.mode = f.mode.Type() | fs.FileMode(p.mode.Apply(bits)).Perm()
		}
		switch {
		case p.unpack && !one.contents && f.mode.IsRegular() && isTar(f.data):
			err = t.unpack(f.data, at)
		case f.mode.IsDir():
			err = t.placeDir(name, f, p.keeps)
		default:
			err = t.put(name, f)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (t tree) placeDir(name string, f file, keeps bool) error {
	if t.isDir(name) && (keeps || name == "") {
		return nil
	}
	if _, err := t.makeDirs(name, file{time: f.time}); err != nil {
		return err
	}
	t[name] = &f
	return nil
}

func (t tree) unpack(data []byte, at string) error {
	files, err := readTar(bytes.NewReader(data))
	if err != nil {
		return err
	}
	if _, err := t.makeDirs(at, file{time: now()}); err != nil {
		return err
	}
	for _, name := range sorted(files) {
		if f := files[name]; f.mode.IsDir() {
			err = t.placeDir(path.Join(at, name), *f, false)
		} else {
			err = t.put(path.Join(at, name), *f)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// plain takes the compression off, if there is one that the standard library knows.
func plain(r io.Reader) (io.Reader, error) {
	head := make([]byte, 4)
	n, _ := io.ReadFull(r, head)
	r = io.MultiReader(bytes.NewReader(head[:n]), r)
	switch {
	case bytes.HasPrefix(head, []byte("\x1f\x8b")):
		return gzip.NewReader(r)
	case bytes.HasPrefix(head, []byte("BZh")):
		return bzip2.NewReader(r), nil
	}
	return r, nil
}

func isTar(data []byte) bool {
	r, err := plain(bytes.NewReader(data))
	if err != nil {
		return false
	}
	_, err = tar.NewReader(r).Next()
	return err == nil
}

// readTar reads a tar archive.
func readTar(r io.Reader) (tree, error) {
	r, err := plain(r)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", builder.ErrInvalid, err)
	}
	files := tree{}
	for in := tar.NewReader(r); ; {
		header, err := in.Next()
		if err == io.EOF {
			return files, nil
		}
		if err != nil {
			return nil, fmt.Errorf("%w: %w", builder.ErrInvalid, err)
		}
		f := file{mode: header.FileInfo().Mode(), uid: header.Uid, gid: header.Gid, time: header.ModTime, link: header.Linkname}
		if header.Typeflag == tar.TypeLink {
			if other := files[clean(header.Linkname)]; other != nil {
				f = *other
			}
		}
		if header.Typeflag == tar.TypeReg {
			if f.data, err = io.ReadAll(in); err != nil {
				return nil, fmt.Errorf("%w: %w", builder.ErrInvalid, err)
			}
		}
		if clean(header.Name) != "" {
			if err := files.put(clean(header.Name), f); err != nil {
				return nil, err
			}
		}
	}
}

// openDir shows a directory of this machine; no link leads out of it.
func openDir(dir string) (fs.FS, func() error, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %s: %w", builder.ErrNotFound, dir, err)
	}
	return root.FS(), root.Close, nil
}
