//go:build linux

package storage

import (
	"bufio"
	"fmt"
	"os"

	"go.podman.io/storage/pkg/reexec"
	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/storage/tarfilter"
)

// Helper makes the process what the storage library started it for, and says whether it
// did; it takes the place of the library's reexec.Init in every program that opens a
// Store. One that unpacks a layer or an archive gets it without what a tarfilter.Layer leaves
// out, and is ended by exit, which is os.Exit, when it cannot be read to its end.
func Helper(exit func(code int)) bool {
	if os.Args[0] == "storage-untar" || os.Args[0] == "storage-applyLayer" {
		if in, err := filtered(os.Stdin, exit); err == nil {
			os.Stdin = in
		} else {
			os.Stdin = nil // rather nothing than what was not looked at
		}
	}
	return reexec.Init()
}

// filtered gives a layer's stream as it is to be unpacked.
func filtered(layer *os.File, exit func(code int)) (*os.File, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	const size = 1 << 20
	_, _ = unix.FcntlInt(w.Fd(), unix.F_SETPIPE_SZ, size)          // only faster
	judge := &tarfilter.Layer{Devices: tarfilter.MayMakeDevices()} // asked before there is another root
	go func() {
		defer w.Close()
		out := bufio.NewWriterSize(w, size)
		if err := tarfilter.Copy(out, bufio.NewReaderSize(layer, size), judge.Judge); err != nil {
			// Where the stream ends between two entries, that would look like the layer's end.
			fmt.Fprintln(os.Stderr, err)
			exit(1)
		}
		_ = out.Flush() // who has stopped to read knows why
	}()
	return r, nil
}
