//go:build linux

package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"os"
	"path/filepath"
	"time"
)

// writeContexts writes the contexts that are built everywhere: those of testdata, an example, and
// archives of what a checkout cannot hold.
func writeContexts(dir string) error {
	if err := os.CopyFS(dir, os.DirFS("testdata")); err != nil {
		return err
	}
	if err := os.CopyFS(filepath.Join(dir, "multistage-go"), os.DirFS("../../examples/multistage-go")); err != nil {
		return err
	}
	archive, err := ownersArchive()
	if err != nil {
		return err
	}
	var compressed bytes.Buffer
	zw := gzip.NewWriter(&compressed)
	_, err = zw.Write(archive)
	return errors.Join(err, zw.Close(),
		os.WriteFile(filepath.Join(dir, "files/archive.tar"), archive, 0o644),
		os.WriteFile(filepath.Join(dir, "files/archive.tar.gz"), compressed.Bytes(), 0o644))
}

// ownersArchive is an archive of files of many owners, kinds and modes.
func ownersArchive() ([]byte, error) {
	var out bytes.Buffer
	tw := tar.NewWriter(&out)
	for _, header := range []tar.Header{
		{Typeflag: tar.TypeDir, Name: "./", Mode: 0o755, Uid: 5, Gid: 6},
		{Typeflag: tar.TypeReg, Name: "owned", Mode: 0o604, Uid: 1234, Gid: 56789, Size: 6},
		{Typeflag: tar.TypeReg, Name: "set-id", Mode: 0o6711, Uid: 33, Gid: 33, Size: 6},
		{Typeflag: tar.TypeReg, Name: "unreadable", Mode: 0, Uid: 7, Gid: 8, Size: 6},
		{Typeflag: tar.TypeDir, Name: "sticky/", Mode: 0o1777, Uid: 65534, Gid: 65534},
		{Typeflag: tar.TypeDir, Name: "closed/", Mode: 0o500, Uid: 9, Gid: 9},
		{Typeflag: tar.TypeReg, Name: "closed/inside", Mode: 0o400, Uid: 9, Gid: 9, Size: 6},
		{Typeflag: tar.TypeLink, Name: "hard", Linkname: "owned"},
		{Typeflag: tar.TypeSymlink, Name: "soft", Linkname: "closed/inside", Mode: 0o777, Uid: 1, Gid: 2},
		{Typeflag: tar.TypeFifo, Name: "fifo", Mode: 0o622, Uid: 3, Gid: 4},
		{Typeflag: tar.TypeReg, Name: "attributes", Mode: 0o644, Size: 6, PAXRecords: map[string]string{"SCHILY.xattr.user.note": "kept"}},
	} {
		header.ModTime = time.Unix(1600000000, 0)
		if err := tw.WriteHeader(&header); err != nil {
			return nil, err
		}
		if header.Size > 0 {
			if _, err := tw.Write([]byte("hello\n")); err != nil {
				return nil, err
			}
		}
	}
	return out.Bytes(), tw.Close()
}
