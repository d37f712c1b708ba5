package dockerfile

import (
	"io"
	"io/fs"
	"slices"
	"strings"
	"time"
)

// inlineFile is a file written in the Dockerfile, as a here-document of COPY or ADD.
type inlineFile struct {
	name string
	data string
}

// inlineFS is a file system whose root directory holds the files, all with mode
// 0644 and without a time.
type inlineFS []inlineFile

// patterns selects the files, each by its literal name: a selected file can be
// copied to a file's name, a whole file system cannot.
func (f inlineFS) patterns() []string {
	literal := strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`)
	patterns := make([]string, len(f))
	for i, file := range f {
		patterns[i] = literal.Replace(file.name)
	}
	return patterns
}

func (f inlineFS) Open(name string) (fs.File, error) {
	if name == "." {
		return &inlineDir{files: f}, nil
	}
	// The last of a name wins, as when each is copied in turn.
	for _, file := range slices.Backward(f) {
		if file.name == name {
			return &openInline{file, strings.NewReader(file.data)}, nil
		}
	}
	return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
}

// ReadDir makes it an fs.ReadDirFS.
func (f inlineFS) ReadDir(name string) ([]fs.DirEntry, error) {
	if name != "." {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: fs.ErrNotExist}
	}
	byName := map[string]inlineFile{}
	var names []string
	for _, file := range f {
		if _, ok := byName[file.name]; !ok {
			names = append(names, file.name)
		}
		byName[file.name] = file
	}
	slices.Sort(names)
	entries := make([]fs.DirEntry, len(names))
	for i, name := range names {
		entries[i] = fs.FileInfoToDirEntry(inlineInfo{byName[name]})
	}
	return entries, nil
}

// openInline is an opened file.
type openInline struct {
	file inlineFile
	*strings.Reader
}

func (o *openInline) Stat() (fs.FileInfo, error) { return inlineInfo{o.file}, nil }
func (o *openInline) Close() error               { return nil }

// inlineInfo describes a file.
type inlineInfo struct{ file inlineFile }

func (i inlineInfo) Name() string       { return i.file.name }
func (i inlineInfo) Size() int64        { return int64(len(i.file.data)) }
func (i inlineInfo) Mode() fs.FileMode  { return 0o644 }
func (i inlineInfo) ModTime() time.Time { return time.Time{} }
func (i inlineInfo) IsDir() bool        { return false }
func (i inlineInfo) Sys() any           { return nil }

// inlineDir is the opened root directory.
type inlineDir struct {
	files inlineFS
	read  int
}

func (d *inlineDir) Stat() (fs.FileInfo, error) { return rootInfo{}, nil }
func (d *inlineDir) Close() error               { return nil }
func (d *inlineDir) Read([]byte) (int, error) {
	return 0, &fs.PathError{Op: "read", Path: ".", Err: fs.ErrInvalid}
}

// ReadDir gives the next n entries, or all that are left.
func (d *inlineDir) ReadDir(n int) ([]fs.DirEntry, error) {
	entries, err := d.files.ReadDir(".")
	if err != nil {
		return nil, err
	}
	entries = entries[d.read:]
	if n > 0 {
		if len(entries) == 0 {
			return nil, io.EOF
		}
		entries = entries[:min(n, len(entries))]
	}
	d.read += len(entries)
	return entries, nil
}

// rootInfo describes the root directory.
type rootInfo struct{}

func (rootInfo) Name() string       { return "." }
func (rootInfo) Size() int64        { return 0 }
func (rootInfo) Mode() fs.FileMode  { return fs.ModeDir | 0o755 }
func (rootInfo) ModTime() time.Time { return time.Time{} }
func (rootInfo) IsDir() bool        { return true }
func (rootInfo) Sys() any           { return nil }
