package builder

import (
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"

	"github.com/oakum-build/oakum/builder/internal/download"
	"github.com/oakum-build/oakum/builder/internal/input"
)

// Source is something to copy from: files, with the way they are taken. Dir, FS, Bytes, Tar,
// URL, Git, ImageFiles and Stage.Path make one. The methods return changed copies, so that they
// chain:
//
//	builder.Dir(".").Select("*.go", "go.mod").Ignore("*_test.go").Chown("app")
//
// Under is for Export, ExportDir and ReplaceDir alone.
//
// A method that has no meaning for the source, as the checksum of a directory, makes a Source
// that whoever gets it refuses, with an error that matches ErrInvalid:
//
//	                          Dir  FS  Tar  Path  ImageFiles  Git  Bytes  URL
//	Select, Parents,           x   x    x    x        x        x
//	Ignore, Exclude            x   x    x    x        x        x
//	Chown, Chmod, Under        x   x    x    x        x        x     x     x
//	OwnedByRoot                              x        x
//	Platform, Pull                                    x
//	KeepGitDir, CommitTimes,                                   x
//	Agent                                                      x
//	Checksum, Authorization                                    x           x
//	Unpack                                                                 x
type Source struct {
	kind sourceKind
	// The one of the kind: dir of Dir; name and data of Bytes; image of ImageFiles;
	// url and unpack of URL.
	dir    string
	fsys   fs.FS
	name   string
	data   []byte
	tar    io.Reader
	stage  *Stage
	image  imageRef
	url    input.URL
	unpack bool
	git    input.Git

	taken input.Source // what is taken, and how
	under string       // where it comes in an export
	err   error        // of the first method that has no meaning
}

// imageRef is the image whose files are a source.
type imageRef struct{ ref, platform, pull string }

// sourceKind is what makes a Source.
type sourceKind string

const (
	dirSource   sourceKind = "Dir"
	fsSource    sourceKind = "FS"
	bytesSource sourceKind = "Bytes"
	tarSource   sourceKind = "Tar"
	stageSource sourceKind = "Path"
	imageSource sourceKind = "ImageFiles"
	urlSource   sourceKind = "URL"
	gitSource   sourceKind = "Git"
)

// trees are the sources of which a part can be taken.
var trees = []sourceKind{dirSource, fsSource, tarSource, stageSource, imageSource, gitSource}

// modifiers says for which sources a method of Source has a meaning. Those that it does not
// list have one for all.
var modifiers = map[string][]sourceKind{
	"Select":        trees,
	"Parents":       trees,
	"Ignore":        trees,
	"Exclude":       trees,
	"OwnedByRoot":   {stageSource, imageSource},
	"Platform":      {imageSource},
	"Pull":          {imageSource},
	"KeepGitDir":    {gitSource},
	"CommitTimes":   {gitSource},
	"Agent":         {gitSource},
	"Checksum":      {urlSource, gitSource},
	"Authorization": {urlSource, gitSource},
	"Unpack":        {urlSource},
}

// modify makes a change by a method, or notes that the method has no meaning for the source.
func (s Source) modify(method string, change func(*Source)) Source {
	if kinds, some := modifiers[method]; some && !slices.Contains(kinds, s.kind) {
		if s.err == nil && s.kind != "" { // the zero Source is refused as it is
			s.err = fmt.Errorf("%w: %s has no meaning for %s, only for %s", ErrInvalid, method, s.label(), listed(kinds))
		}
		return s
	}
	change(&s)
	return s
}

// listed is "Dir, FS and Git".
func listed(kinds []sourceKind) string {
	var text strings.Builder
	for i, k := range kinds {
		switch {
		case i > 0 && i == len(kinds)-1:
			text.WriteString(" and ")
		case i > 0:
			text.WriteString(", ")
		}
		text.WriteString(string(k))
	}
	return text.String()
}

// label is the source as it was made, without credentials.
func (s Source) label() string {
	what := ""
	switch s.kind {
	case dirSource:
		what = s.dir
	case bytesSource:
		what = s.name
	case imageSource:
		what = s.image.ref
	case urlSource:
		what = download.Redacted(s.url.URL)
	case gitSource:
		what = download.Redacted(s.git.Ref)
	default:
		return string(s.kind)
	}
	return fmt.Sprintf("%s(%q)", s.kind, what)
}

// Dir is a directory of this machine. Copied files belong to root unless Chown says
// otherwise. Nothing outside the directory is read, whatever links point there.
func Dir(path string) Source {
	if path == "" {
		return Source{}
	}
	return Source{kind: dirSource, dir: path}
}

// FS is a file system such as an embed.FS. Files belong to root. A directory that is there
// already keeps its owner and mode, for those of a file system in a program say nothing about it:
// an embed.FS has all directories at 0555.
func FS(fsys fs.FS) Source {
	if fsys == nil {
		return Source{}
	}
	return Source{kind: fsSource, fsys: fsys}
}

// Bytes is a file of that name, without a directory, and content. It belongs to root, has the mode
// 0644 and is dated 1970-01-01, so that the same bytes make the same layer.
func Bytes(name string, data []byte) Source {
	return Source{kind: bytesSource, name: name, data: data}
}

// Tar is the files of a tar archive, plain or compressed by gzip, bzip2, xz or zstd. They
// belong to root unless Chown says otherwise. The archive is read once, so the Source is
// good for one Copy. When that fails, r may still be read from until it next returns.
func Tar(r io.Reader) Source {
	if r == nil {
		return Source{}
	}
	return Source{kind: tarSource, tar: r}
}

// ImageFiles is the files of an image, as COPY --from=IMAGE takes them, without a stage to be
// made of it. The image is named as in Builder.Stage, and is pulled when it is not in the
// store, unless Pull says otherwise. Owners and modes are kept.
func ImageFiles(image string) Source { return Source{kind: imageSource, image: imageRef{ref: image}} }

// Path is a source for another stage's Copy: what the patterns (Dockerfile
// reference, COPY; relative to the root) name in this stage's present files.
// Owners and modes are kept.
func (s *Stage) Path(patterns ...string) Source {
	return Source{kind: stageSource, stage: s}.Select(patterns...)
}

// source is the stage's name for the worker.
func (s *Stage) source(b *Builder) (string, error) {
	switch {
	case s.b != b:
		return "", fmt.Errorf("%w: a stage of another Builder", ErrInvalid)
	case s.closed:
		return "", ErrClosed
	}
	return s.id, nil
}

// Select takes only what the patterns name, relative to the source's root, as
// COPY's sources do: path.Match within each component; a directory means its
// contents. Without Select the whole source is taken.
func (s Source) Select(patterns ...string) Source {
	return s.modify("Select", func(s *Source) { s.taken.Patterns = patterns })
}

// Parents keeps the directories that a pattern names above its files, as COPY --parents
// does: those after the first "/./", or all. "**" is then any number of components.
func (s Source) Parents() Source {
	return s.modify("Parents", func(s *Source) { s.taken.Parents = true })
}

// Ignore leaves out what .dockerignore patterns match, as if it were not there
// (Dockerfile reference, .dockerignore file).
func (s Source) Ignore(patterns ...string) Source {
	return s.modify("Ignore", func(s *Source) { s.taken.Ignore = patterns })
}

// Exclude leaves out what the patterns of COPY --exclude match.
func (s Source) Exclude(patterns ...string) Source {
	return s.modify("Exclude", func(s *Source) { s.taken.Exclude = patterns })
}

// OwnedByRoot takes the files of a stage or an image as those of a directory: they belong to
// root unless Chown says otherwise.
func (s Source) OwnedByRoot() Source {
	return s.modify("OwnedByRoot", func(s *Source) { s.taken.Rooted = true })
}

// Under says which directory of what Export or ExportDir writes the files come into: a path without
// links, which is made.
func (s Source) Under(dir string) Source {
	return s.modify("Under", func(s *Source) { s.under = dir })
}

// Chown sets the owner of everything copied: user[:group], names looked up in the
// stage copied into.
func (s Source) Chown(owner string) Source {
	return s.modify("Chown", func(s *Source) { s.taken.Chown = owner })
}

// Chmod sets the mode of everything copied: octal, or symbolic as in chmod(1), such as
// "u=rwX,go=rX", which changes the mode of each file.
func (s Source) Chmod(mode string) Source {
	return s.modify("Chmod", func(s *Source) { s.taken.Chmod = mode })
}

// Platform says which image of several ImageFiles takes: OS/ARCH[/VARIANT] or "local". Without
// it, that which the store has, or that of this machine.
func (s Source) Platform(platform string) Source {
	return s.modify("Platform", func(s *Source) { s.image.platform = platform })
}

// Pull says when ImageFiles pulls its image, as StageOptions.Pull does.
func (s Source) Pull(policy string) Source {
	return s.modify("Pull", func(s *Source) { s.image.pull = policy })
}

func describeSources(sources []Source) string {
	var words []string
	for _, s := range sources {
		switch {
		case s.kind == urlSource:
			words = append(words, download.Redacted(s.url.URL))
		case s.kind == gitSource:
			words = append(words, download.Redacted(s.git.Ref))
		case s.kind == bytesSource:
			words = append(words, s.name)
		case len(s.taken.Patterns) == 0:
			words = append(words, ".")
		}
		words = append(words, s.taken.Patterns...)
	}
	return strings.Join(words, " ")
}
