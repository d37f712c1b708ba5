// Package imagetree reads what is in an image, whoever built it, into a form that can
// be compared and shown: its files with everything that an image keeps of them, and
// its configuration.
package imagetree

import (
	"archive/tar"
	"crypto/sha256"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// A File is what is compared of a file in an image. Modification times are not.
type File struct {
	Type     byte // as in tar, but a hard link is the file it is linked to
	Mode     int64
	UID, GID int
	Content  string // as ContentOf says it
	Target   string // of a symbolic link
	Device   string
	Xattrs   map[string]string
	inode    *string // the same pointer for all names of one file
}

// A Tree is an image's files by path, without leading slash.
type Tree map[string]*File

// put lays an entry of a layer over the tree (OCI image specification, layer.md).
func (files Tree) put(header *tar.Header, body io.Reader) error {
	name := strings.TrimPrefix(path.Clean("/"+header.Name), "/")
	dir, base := path.Split(name)
	if base == ".wh..wh..opq" {
		files.removeBelow(strings.TrimSuffix(dir, "/"))
		return nil
	}
	if hidden, ok := strings.CutPrefix(base, ".wh."); ok {
		delete(files, dir+hidden)
		files.removeBelow(dir + hidden)
		return nil
	}
	if header.Typeflag == tar.TypeLink {
		target := files[strings.TrimPrefix(path.Clean("/"+header.Linkname), "/")]
		if target == nil {
			return fmt.Errorf("hard link %s to %s, which is not there", name, header.Linkname)
		}
		files[name] = target
		return nil
	}
	if header.Typeflag != tar.TypeDir {
		files.removeBelow(name)
	}
	content, err := io.ReadAll(body)
	if err != nil {
		return err
	}
	entry := &File{Type: header.Typeflag, Mode: header.Mode & 0o7777, UID: header.Uid, GID: header.Gid,
		Target: header.Linkname, Xattrs: map[string]string{}, inode: &name}
	switch header.Typeflag {
	case tar.TypeReg:
		entry.Content = ContentOf(string(content))
	case tar.TypeChar, tar.TypeBlock:
		entry.Device = fmt.Sprintf("%d:%d", header.Devmajor, header.Devminor)
	}
	for key, value := range header.PAXRecords {
		// Debian's buildah lets overlay's own attributes into layers.
		if attr, ok := strings.CutPrefix(key, "SCHILY.xattr."); ok && !strings.HasPrefix(attr, "user.overlay.") {
			entry.Xattrs[attr] = value
		}
	}
	files[name] = entry
	return nil
}

func (files Tree) removeBelow(dir string) {
	maps.DeleteFunc(files, func(name string, _ *File) bool { return strings.HasPrefix(name, dir+"/") })
}

// ContentOf is the Content of a regular file that holds text: itself, quoted, when it
// is short and legible, else its size and digest.
func ContentOf(text string) string {
	illegible := func(r rune) bool {
		return r == unicode.ReplacementChar || !unicode.IsPrint(r) && r != '\n' && r != '\t'
	}
	if len(text) <= 120 && !strings.ContainsFunc(text, illegible) {
		return strconv.Quote(text)
	}
	return fmt.Sprintf("%d bytes sha256:%x", len(text), sha256.Sum256([]byte(text)))
}

// Lines is one line for each path that tells all that is compared. All names of a file
// but the first have "= /FIRST" for their hard link.
func (files Tree) Lines() map[string]string {
	first := map[*string]string{}
	for name, entry := range files {
		if other, ok := first[entry.inode]; !ok || name < other {
			first[entry.inode] = name
		}
	}
	lines := make(map[string]string, len(files))
	for name, entry := range files {
		line := entry.String()
		if other := first[entry.inode]; other != name {
			line += " = /" + other
		}
		lines[name] = line
	}
	return lines
}

var typeNames = map[byte]string{
	tar.TypeReg: "file", tar.TypeDir: "dir", tar.TypeSymlink: "symlink",
	tar.TypeChar: "char", tar.TypeBlock: "block", tar.TypeFifo: "fifo",
}

// String is a line without the hard link.
func (f *File) String() string {
	kind := typeNames[f.Type]
	if kind == "" {
		kind = fmt.Sprintf("type %q", f.Type)
	}
	line := fmt.Sprintf("%s %04o %d:%d", kind, f.Mode, f.UID, f.GID)
	for _, part := range []string{f.Content, f.Device} {
		if part != "" {
			line += " " + part
		}
	}
	if f.Type == tar.TypeSymlink {
		line += " -> " + f.Target
	}
	for _, attr := range slices.Sorted(maps.Keys(f.Xattrs)) {
		line += fmt.Sprintf(" %s=%q", attr, f.Xattrs[attr])
	}
	return line
}
