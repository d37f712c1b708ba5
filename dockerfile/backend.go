package dockerfile

import (
	"context"
	"io"
	"sync"
	"time"

	"github.com/oakum-build/oakum/builder"
)

// backend is what a build needs of a *builder.Builder.
type backend interface {
	Stage(ctx context.Context, from string, opts builder.StageOptions) (stage, error)
	ReadFile(ctx context.Context, dir, name string, max int) ([]byte, error)
	Remembers(ctx context.Context) (bool, error)
}

// stage is what a build needs of a *builder.Stage, whose contracts hold. Fork and
// being the source of a copy may happen from several goroutines at once, after the
// stage's last change.
type stage interface {
	Fork(ctx context.Context, opts builder.StageOptions) (stage, error)
	Config() builder.Config
	Platform() string
	SetPlatform(platform string) error
	CheckCommand(ctx context.Context) ([]string, error)
	ReadFile(ctx context.Context, name string, max int) ([]byte, error)
	LatestTime(ctx context.Context) (time.Time, error)
	Describe(createdBy string)
	Configure(change func(*builder.Config))
	Workdir(ctx context.Context, dir string) error
	Bring(ctx context.Context, files files) error
	Run(ctx context.Context, cmd builder.Cmd) error
	Last() builder.Step
	Commit(ctx context.Context, name string, opts builder.CommitOptions) (builder.Image, error)
	Close() error
}

// origin is where a COPY or ADD looks its patterns up: a stage, or a directory of this
// machine. The zero value is neither.
type origin struct {
	from        stage
	dir         string
	ignore      []string // patterns of what is not there
	ownedByRoot bool     // without chown; else files of a stage keep their owners
}

// below is where the archives and layouts that a Dockerfile names are: in its context, and
// nowhere without one.
func (s source) below(o Options) *builder.Source {
	src := builder.Source{}
	if in, ok := s.context.(*libraryStage); ok {
		src = in.paths(nil)
	} else if o.ContextDir != "" {
		src = builder.Dir(o.ContextDir)
	}
	return &src
}

// files is one COPY or ADD.
type files struct {
	origin
	dest     string
	unpack   bool // local archives, as ADD does
	link     bool // as --link
	parents  bool // as --parents
	patterns []string
	exclude  []string
	inline   []inlineFile
	chown    string
	chmod    string

	tar          io.Reader // all files of an archive
	remote       []remoteFile
	unpackRemote bool
	checksum     string // of the only remote source
	gitOptions
}

// remoteFile is a source that ADD fetches.
type remoteFile struct {
	ref           string
	git           bool
	authorization string
	agent         string
}

// gitOptions are how the files of repositories are taken.
type gitOptions struct {
	keepGitDir  *bool
	commitTimes bool
}

// source makes a source of it.
func (f files) source(r remoteFile) builder.Source {
	if !r.git {
		src := builder.URL(r.ref).Checksum(f.checksum).Authorization(r.authorization)
		if f.unpackRemote {
			src = src.Unpack()
		}
		return src
	}
	src := builder.Git(r.ref).Exclude(f.exclude...).Checksum(f.checksum).Authorization(r.authorization).Agent(r.agent)
	if f.commitTimes {
		src = src.CommitTimes()
	}
	if f.keepGitDir != nil {
		src = src.KeepGitDir(*f.keepGitDir)
	}
	return src
}

// library makes a backend of a Builder.
type library struct{ b *builder.Builder }

func (l library) Stage(ctx context.Context, from string, opts builder.StageOptions) (stage, error) {
	s, err := l.b.Stage(ctx, from, opts)
	if err != nil {
		return nil, err
	}
	return &libraryStage{Stage: s}, nil
}

func (l library) ReadFile(ctx context.Context, dir, name string, max int) ([]byte, error) {
	return l.b.ReadFile(ctx, dir, name, max)
}

func (l library) Remembers(ctx context.Context) (bool, error) { return l.b.Remembers(ctx) }

// libraryStage makes a stage of a *builder.Stage.
type libraryStage struct {
	*builder.Stage
	mu sync.Mutex // a builder.Stage belongs to one goroutine at a time
}

func (s *libraryStage) Fork(ctx context.Context, opts builder.StageOptions) (stage, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	child, err := s.Stage.Fork(ctx, opts)
	if err != nil {
		return nil, err
	}
	return &libraryStage{Stage: child}, nil
}

// paths makes a source of the stage.
func (s *libraryStage) paths(patterns []string) builder.Source {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.Path(patterns...)
}

// Bring copies files in.
func (s *libraryStage) Bring(ctx context.Context, f files) error {
	var sources []builder.Source
	if len(f.patterns) > 0 {
		var src builder.Source
		if from, ok := f.from.(*libraryStage); ok {
			src = from.paths(f.patterns).Ignore(f.ignore...)
		} else {
			src = builder.Dir(f.dir).Ignore(f.ignore...).Select(f.patterns...)
		}
		if f.parents {
			src = src.Parents()
		}
		sources = append(sources, src.Exclude(f.exclude...))
	}
	if f.tar != nil {
		sources = append(sources, builder.Tar(f.tar))
	}
	for _, r := range f.remote {
		sources = append(sources, f.source(r))
	}
	if len(f.inline) > 0 {
		sources = append(sources, builder.FS(inlineFS(f.inline)).Select(inlineFS(f.inline).patterns()...))
	}
	for i, src := range sources {
		switch {
		case f.chown != "":
			src = src.Chown(f.chown)
		case f.ownedByRoot:
			src = src.OwnedByRoot()
		}
		if f.chmod != "" {
			src = src.Chmod(f.chmod)
		}
		sources[i] = src
	}
	return s.CopyWith(ctx, builder.CopyOptions{Unpack: f.unpack, Link: f.link}, f.dest, sources...)
}
