//go:build linux

package treedriver

import (
	"archive/tar"
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/docker/go-units"
)

// Limits are how large a layer may be that comes from elsewhere. Without any, one that is small as a
// compressed blob could fill the volume, or use up its inodes wherever it is unpacked.
type Limits struct {
	Bytes int64 // of its uncompressed tar, and of its files with their holes
	Files int64 // entries of its tar
}

// The options of the driver, with the limits that hold without them.
const (
	optionBytes = "layer_size"
	optionFiles = "layer_files"

	defaultBytes = 256 << 30
	defaultFiles = 10_000_000
)

// ParseLimits reads the driver's options, which begin with "tree."; those of other drivers are passed
// over.
func ParseLimits(options []string) (Limits, error) {
	l := Limits{defaultBytes, defaultFiles}
	for _, option := range options {
		key, value, _ := strings.Cut(option, "=")
		key, own := strings.CutPrefix(strings.ToLower(strings.TrimSpace(key)), Name+".")
		if !own {
			continue
		}
		var err error
		switch value = strings.TrimSpace(value); key {
		case optionBytes:
			l.Bytes, err = units.RAMInBytes(value)
		case optionFiles:
			l.Files, err = strconv.ParseInt(value, 10, 64)
		default:
			return l, fmt.Errorf("the driver tree has no option %s: it has %s.%s=SIZE and %s.%s=NUMBER", key, Name, optionBytes, Name, optionFiles)
		}
		if err != nil || l.Bytes <= 0 || l.Files <= 0 {
			return l, fmt.Errorf("%s.%s=%s is no size or number above 0", Name, key, value)
		}
	}
	return l, nil
}

// copyWithin writes a layer's tar, and fails as soon as that exceeds the limits.
func (l Limits) copyWithin(to io.Writer, from io.Reader) (int64, error) {
	counted := &counter{to: to, left: l.Bytes, limit: l.Bytes}
	out := bufio.NewWriterSize(counted, 1<<20)
	from = bufio.NewReaderSize(io.TeeReader(from, out), 1<<16)
	entries := tar.NewReader(from)
	for files := int64(0); ; files++ {
		_, err := entries.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if counted.err != nil {
			return counted.size, counted.err
		}
		if err != nil {
			return counted.size, err
		}
		if files == l.Files {
			return counted.size, fmt.Errorf("the layer has more than %d files: allow more by --storage-opt %s.%s=NUMBER if it is to be trusted", l.Files, Name, optionFiles)
		}
	}
	_, err := io.Copy(io.Discard, from) // what follows the end belongs to the bytes of the digest
	if err == nil {
		err = out.Flush()
	}
	return counted.size, err
}

// counter passes on as many bytes as are left.
type counter struct {
	to          io.Writer
	left, limit int64
	size        int64
	err         error
}

func (c *counter) Write(p []byte) (n int, err error) {
	if int64(len(p)) > c.left {
		c.err = fmt.Errorf("the layer is larger than %s uncompressed: allow more by --storage-opt %s.%s=SIZE if it is to be trusted", units.BytesSize(float64(c.limit)), Name, optionBytes)
		return 0, c.err
	}
	n, c.err = c.to.Write(p)
	c.size += int64(n)
	c.left -= int64(n)
	return n, c.err
}
