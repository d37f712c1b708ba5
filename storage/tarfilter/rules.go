// Package tarfilter says what a layer can hold, and takes out of foreign tar streams what
// would be something else in the store than for those who read the stream.
package tarfilter

import (
	"bytes"
	"errors"
	"fmt"
	"path"
	"strings"
)

// ErrUnfit is a file that a layer cannot hold.
var ErrUnfit = errors.New("a layer cannot hold a file")

// NameError is a file that a layer cannot hold because of its name. It matches ErrUnfit.
type NameError struct {
	Path string // from the root of the image
	Why  string
}

func (e *NameError) Error() string { return fmt.Sprintf("a layer cannot hold %q: %s", e.Path, e.Why) }

// Is makes errors.Is(err, ErrUnfit) true.
func (e *NameError) Is(target error) bool { return target == ErrUnfit }

const (
	markerPrefix = ".wh."
	maxPath      = 4095 // PATH_MAX without its zero
)

// CheckName gives a *NameError when a layer cannot hold a file: because its name, or that of
// a directory around it, is that of a whiteout (OCI image layer specification,
// "Whiteouts"), which whoever unpacks the layer takes for a removal, or because its path is
// longer than any system opens.
func CheckName(name string) error {
	name = path.Clean("/" + name)
	for part := range strings.SplitSeq(name, "/") {
		if strings.HasPrefix(part, markerPrefix) {
			return &NameError{name, `names that begin with ".wh." mark files as removed; give it another name, or leave it out`}
		}
	}
	if len(name) > maxPath {
		return &NameError{name[:64] + "...", fmt.Sprintf("its path has more than %d bytes", maxPath)}
	}
	return nil
}

// stores are the beginnings of the names of attributes in which storage drivers keep what a
// file or directory is to them: whether it hides what is below, which owner, mode and type
// it has, or which other file it stands for.
var stores = []string{
	"user.overlay.", "trusted.overlay.", // the kernel's overlay
	"user.fuseoverlayfs.", "trusted.fuseoverlayfs.", "security.fuseoverlayfs.", // fuse-overlayfs
	"user.containers.", // containers/storage and fuse-overlayfs
	"user.rootlesscontainers",
}

// StoresOwn says whether an attribute is one by which a storage driver shows a file as something else
// than it is. A layer that carries one is another to who mounts it than to who reads it.
func StoresOwn(attr string) bool {
	for _, s := range stores {
		if strings.HasPrefix(attr, s) {
			return true
		}
	}
	return false
}

// StoresOwnIn gives an attribute of storage drivers that stands in headers of a tar, "" when there is none.
func StoresOwnIn(headers []byte) string {
	for _, s := range stores {
		if _, after, found := bytes.Cut(headers, []byte(xattrRecord+s)); found {
			name, _, _ := bytes.Cut(after, []byte("="))
			return s + string(name[:min(len(name), 64)])
		}
	}
	return ""
}

// Keeps says whether layers made here hold an attribute: capabilities, and the user's own.
// Those of the host's security modules and of storage drivers stay behind.
func Keeps(attr string) bool {
	return attr == "security.capability" || strings.HasPrefix(attr, "user.") && !StoresOwn(attr)
}
