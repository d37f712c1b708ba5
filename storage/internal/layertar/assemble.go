//go:build linux

package layertar

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	tarsplit "github.com/vbatts/tar-split/tar/storage"
)

// assembleBlock is how much of a file is read at once.
const assembleBlock = 256 << 10

// Assemble writes a layer's tar from its tar-split records and its files, each of which must have the
// checksum that the records have of it.
func Assemble(records io.Reader, files tarsplit.FileGetter, to io.Writer) error {
	from := tarsplit.NewJSONUnpacker(records)
	var block []byte
	for {
		entry, err := from.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		switch {
		case err != nil:
		case entry.Type == tarsplit.SegmentType:
			_, err = to.Write(entry.Payload)
		case entry.Type == tarsplit.FileType && entry.Size > 0:
			if block == nil {
				block = make([]byte, assembleBlock)
			}
			err = assembleFile(entry, files, to, block)
		}
		if err != nil {
			return err
		}
	}
}

func assembleFile(entry *tarsplit.Entry, files tarsplit.FileGetter, to io.Writer, block []byte) error {
	f, err := files.Get(entry.GetName())
	if err != nil {
		return err
	}
	defer f.Close()
	var sum uint64
	left := entry.Size
	for left > 0 {
		n, err := io.ReadFull(f, block[:min(left, int64(len(block)))])
		if err != nil {
			return fmt.Errorf("reading %q: %w", entry.GetName(), err)
		}
		sum = checksum(sum, block[:n])
		if _, err := to.Write(block[:n]); err != nil {
			return err
		}
		left -= int64(n)
	}
	if len(entry.Payload) != 8 || binary.BigEndian.Uint64(entry.Payload) != sum {
		return fmt.Errorf("%q has been changed: it has not the checksum that it had when its layer was made", entry.GetName())
	}
	return nil
}
