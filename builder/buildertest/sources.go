package buildertest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"

	"github.com/oakum-build/oakum/builder/internal/errdefs"
	"github.com/oakum-build/oakum/builder/internal/filecopy"
	"github.com/oakum-build/oakum/builder/internal/input"
	"github.com/oakum-build/oakum/builder/internal/protocol"
	"github.com/oakum-build/oakum/builder/internal/wire"
)

func (s *server) copy(ctx context.Context, call *wire.Call, q protocol.Copy) (protocol.Stepped, error) {
	st, err := s.stage(q.Stage)
	if err != nil {
		return protocol.Stepped{}, err
	}
	op := Operation{Verb: "COPY", Stage: st.Name, On: st.top.id, Dest: q.Dest, Link: q.Link}
	if q.Unpack {
		op.Verb = "ADD"
	}
	for _, src := range q.Sources {
		op.Sources = append(op.Sources, s.shown(src))
	}
	if err := s.begin(&op); err != nil {
		return protocol.Stepped{}, err
	}
	var parts []part
	if !op.Done {
		if parts, err = s.parts(call, st, q); err != nil {
			return protocol.Stepped{}, err
		}
	}
	content := ""
	for i, p := range parts {
		content += digest(p.all, q.Sources[i].Stream != nil && q.Sources[i].Stream.Foreign)
	}
	q.Stage = ""
	for i := range q.Sources { // the same files from elsewhere are the same step
		src := &q.Sources[i]
		src.Dir, src.Stage, src.Image, src.Stream, src.URL, src.Git = "", "", nil, nil, nil, nil
	}
	return s.do(ctx, call, st, step{verb: "COPY", key: q, content: content, do: func(files tree) error {
		for _, p := range parts {
			if err := files.place(p.all, p.placing); err != nil {
				return err
			}
		}
		return nil
	}})
}

// part is what is taken of one source, and where it goes.
type part struct {
	all []taken
	placing
}

// parts reads the sources of a copy.
func (s *server) parts(call *wire.Call, st *stage, q protocol.Copy) ([]part, error) {
	var parts []part
	for _, src := range q.Sources {
		p := part{placing: placing{dest: q.Dest, dir: q.Dir, unpack: q.Unpack && !src.Packed, keeps: src.Stream != nil && !src.Stream.Foreign}}
		var err error
		if p.all, err = s.take(call, src); err != nil {
			return nil, err
		}
		if p.owner, err = st.top.files.owner(src.Chown); err != nil {
			return nil, err
		}
		if src.Chmod != "" {
			mode, err := filecopy.ParseMode(src.Chmod)
			if err != nil {
				return nil, fmt.Errorf("%w: %w", errdefs.ErrInvalid, err)
			}
			p.mode = &mode
		}
		parts = append(parts, p)
	}
	return parts, nil
}

// take opens a source and gives what is taken of it.
func (s *server) take(call *wire.Call, src input.Source) ([]taken, error) {
	fsys, done, err := s.openSource(call, &src)
	if err != nil {
		return nil, err
	}
	all, err := take(fsys, src)
	return all, errors.Join(err, done())
}

// openSource shows the files of a source.
func (s *server) openSource(call *wire.Call, src *input.Source) (fsys fs.FS, done func() error, err error) {
	done = func() error { return nil }
	switch {
	case src.Dir != "":
		return openDir(src.Dir)
	case src.Stage != "":
		st, err := s.stage(src.Stage)
		if err != nil {
			return nil, nil, err
		}
		return st.top.files.files(), done, nil
	case src.Image != nil:
		img, err := s.base(call, *src.Image)
		if err != nil {
			return nil, nil, err
		}
		return img.top.files.files(), done, nil
	case src.Stream != nil && src.Stream.File <= len(call.Files):
		files, err := readTar(call.Files[src.Stream.File-1])
		return files.files(), done, err
	case src.URL != nil:
		fsys, err := s.fetch(src.URL.URL)
		if err == nil {
			src.Patterns = []string{path.Base(src.URL.URL)}
		}
		return fsys, done, err
	case src.Git != nil:
		fsys, err := s.fetch(src.Git.Ref)
		return fsys, done, err
	}
	return nil, nil, fmt.Errorf("%w: it names no files", errdefs.ErrInvalid)
}

func (s *server) fetch(ref string) (fs.FS, error) {
	fsys := s.opts.Remote[ref]
	if fsys == nil {
		return nil, fmt.Errorf("%w: %s", errdefs.ErrFetch, ref)
	}
	return fsys, nil
}

// shown is a source as an Operation has it.
func (s *server) shown(src input.Source) Source {
	out := Source{Dir: src.Dir, Patterns: src.Patterns, Ignore: src.Ignore, Exclude: src.Exclude, Parents: src.Parents,
		OwnedByRoot: src.Rooted, Chown: src.Chown, Chmod: src.Chmod}
	switch {
	case src.Stage != "":
		if st, err := s.stage(src.Stage); err == nil {
			out.Stage = st.Name
		}
	case src.Image != nil:
		out.Image = src.Image.Ref
	case src.URL != nil:
		out.Remote, out.Checksum, out.Authorization = src.URL.URL, src.URL.Checksum, src.URL.Authorization
	case src.Git != nil:
		out.Remote, out.Checksum, out.Authorization = src.Git.Ref, src.Git.Checksum, src.Git.Authorization
	}
	return out
}

// owner looks an owner up.
func (t tree) owner(text string) (*[2]int, error) {
	if text == "" {
		return nil, nil
	}
	name, group, hasGroup := strings.Cut(text, ":")
	ids, err := t.lookup("etc/passwd", name)
	if err != nil {
		return nil, err
	}
	owner := &[2]int{ids[0], ids[1]}
	if hasGroup && group != "" {
		g, err := t.lookup("etc/group", group)
		if err != nil {
			return nil, err
		}
		owner[1] = g[0]
	}
	return owner, nil
}

// lookup gives the id of a name, and of a user that of the group.
func (t tree) lookup(file, name string) ([2]int, error) {
	if id, err := strconv.Atoi(name); err == nil {
		return [2]int{id, id}, nil
	}
	text, _ := t.read(file)
	for line := range strings.Lines(string(text)) {
		fields := strings.Split(strings.TrimSpace(line), ":")
		if fields[0] != name || len(fields) < 4 {
			continue
		}
		id, err := strconv.Atoi(fields[2])
		gid, _ := strconv.Atoi(fields[3])
		return [2]int{id, gid}, err
	}
	if name == "root" {
		return [2]int{}, nil
	}
	return [2]int{}, fmt.Errorf("%w: /%s has no %s", errdefs.ErrUserNotFound, file, name)
}
