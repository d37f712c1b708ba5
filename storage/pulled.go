//go:build linux

package storage

import (
	"compress/gzip"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	tarsplit "github.com/vbatts/tar-split/tar/storage"

	"github.com/oakum-build/oakum/storage/internal/layertar"
	"github.com/oakum-build/oakum/storage/tarfilter"
)

// PulledNotice says what the layers of an image that have come into the store since a time have
// that was left out of their files, "" when there is nothing. It only reads the headers, which the
// store keeps beside each layer.
func (s *Store) PulledNotice(img Image, since time.Time) string {
	files, names := 0, []string(nil)
	for id := img.TopLayer; id != ""; {
		record, err := s.cs.Layer(id)
		if err != nil {
			return ""
		}
		if !record.Created.Before(since) {
			files += s.strippedOf(id, &names)
		}
		id = record.Parent
	}
	if files == 0 {
		return ""
	}
	return strippedNotice(files, names)
}

// strippedOf counts the files of a layer whose headers have attributes of storage drivers, and
// adds the first of them to names.
func (s *Store) strippedOf(id string, names *[]string) int {
	root := s.cs.GraphRoot()
	if images := s.cs.ImageStore(); images != "" {
		root = images
	}
	f, err := os.Open(filepath.Join(root, s.cs.GraphDriverName()+"-layers", id+".tar-split.gz"))
	if err != nil {
		return 0
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return 0
	}
	count, found := 0, ""
	for in := tarsplit.NewJSONUnpacker(z); ; {
		entry, err := in.Next()
		if err != nil {
			return count
		}
		if entry.Type == tarsplit.SegmentType {
			found = tarfilter.StoresOwnIn(entry.Payload)
			continue
		}
		if found == "" {
			continue
		}
		if count++; len(*names) < layertar.MaxNamed {
			*names = append(*names, found+" of /"+strings.TrimPrefix(path.Clean("/"+entry.GetName()), "/"))
		}
		found = ""
	}
}
