package builder

import "io/fs"

// Source is something to copy from: files, with the way they are taken. The
// methods return changed copies, so that they chain:
//
//	builder.Dir(".").Select("*.go", "go.mod").Ignore("*_test.go").Chown("app")
type Source struct {
	dir      string
	fsys     fs.FS
	stage    *Stage
	patterns []string
	ignore   []string
	exclude  []string
	chown    string
	chmod    string
}

// Dir is a directory of this machine. Copied files belong to root unless Chown says
// otherwise. Nothing outside the directory is read, whatever links point there.
func Dir(path string) Source { return Source{dir: path} }

// FS is a file system such as an embed.FS. Files belong to root.
func FS(fsys fs.FS) Source { return Source{fsys: fsys} }

// Select takes only what the patterns name, relative to the source's root, as
// COPY's sources do: path/filepath.Match within each component; a directory means
// its contents. Without Select the whole source is taken.
func (s Source) Select(patterns ...string) Source { s.patterns = patterns; return s }

// Ignore leaves out what .dockerignore patterns match, as if it were not there
// (Dockerfile reference, .dockerignore file).
func (s Source) Ignore(patterns ...string) Source { s.ignore = patterns; return s }

// Exclude leaves out what the patterns of COPY --exclude match.
func (s Source) Exclude(patterns ...string) Source { s.exclude = patterns; return s }

// Chown sets the owner of everything copied: user[:group], names looked up in the
// stage copied into.
func (s Source) Chown(owner string) Source { s.chown = owner; return s }

// Chmod sets the mode of everything copied, in octal.
func (s Source) Chmod(mode string) Source { s.chmod = mode; return s }
