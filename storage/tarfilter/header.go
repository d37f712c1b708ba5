//go:build linux

package tarfilter

import (
	"archive/tar"
	"path"
	"time"

	"golang.org/x/sys/unix"
)

// markerOpaque is the name of the entry that hides what layers below have in a directory.
const markerOpaque = ".wh..wh..opq"

// Header is the header of a file's entry in a layer that is made here: PAX, times in whole seconds,
// numeric owners, the name of a directory with a slash. name is the path from the root, first that of
// the same file's first entry in the layer, "" for the first one. The caller adds the target of
// a symbolic link. A socket, which a tar cannot hold, has none.
func Header(name string, st *unix.Stat_t, first string) *tar.Header {
	h := &tar.Header{
		Name: name, Format: tar.FormatPAX, Mode: int64(st.Mode & 0o7777),
		Uid: int(st.Uid), Gid: int(st.Gid), ModTime: modTime(st),
	}
	if first != "" {
		h.Typeflag, h.Linkname = tar.TypeLink, first
		return h
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		h.Typeflag, h.Size = tar.TypeReg, st.Size
	case unix.S_IFDIR:
		h.Typeflag, h.Name = tar.TypeDir, name+"/"
	case unix.S_IFLNK:
		h.Typeflag = tar.TypeSymlink
	case unix.S_IFIFO:
		h.Typeflag = tar.TypeFifo
	case unix.S_IFCHR:
		h.Typeflag, h.Devmajor, h.Devminor = tar.TypeChar, int64(unix.Major(st.Rdev)), int64(unix.Minor(st.Rdev))
	case unix.S_IFBLK:
		h.Typeflag, h.Devmajor, h.Devminor = tar.TypeBlock, int64(unix.Major(st.Rdev)), int64(unix.Minor(st.Rdev))
	default:
		return nil
	}
	return h
}

// SetXattr adds an extended attribute to a header.
func SetXattr(h *tar.Header, attr, value string) {
	if h.PAXRecords == nil {
		h.PAXRecords = map[string]string{}
	}
	h.PAXRecords[xattrRecord+attr] = value
}

// Whiteout is the header of the entry that says that a file has been removed (OCI image layer
// specification, "Whiteouts"). st has its owner and time.
func Whiteout(name string, st *unix.Stat_t) *tar.Header {
	dir, base := path.Split(name)
	return marker(dir+markerPrefix+base, st)
}

// Opaque is the header of the entry that says that a directory, whose state is st, hides what layers
// below have in its place (OCI image layer specification, "Opaque Whiteout").
func Opaque(dir string, st *unix.Stat_t) *tar.Header { return marker(dir+"/"+markerOpaque, st) }

func marker(name string, st *unix.Stat_t) *tar.Header {
	return &tar.Header{Typeflag: tar.TypeReg, Name: name, Format: tar.FormatPAX, Uid: int(st.Uid), Gid: int(st.Gid), ModTime: modTime(st)}
}

func modTime(st *unix.Stat_t) time.Time { return time.Unix(st.Mtim.Sec, 0) }
