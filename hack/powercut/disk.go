//go:build linux

package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"
)

// disk is a file of a file system of our own (FUSE), on which a loop device can be put. It keeps all that
// is written to it, in order, and when the device was told to flush what it has: until then a real one
// may lose any of it.
type disk struct {
	fuse *os.File
	now  *os.File // what is read
	size int64

	mu     sync.Mutex
	log    *os.File // the bytes of all writes
	logged int64
	events []event
}

// event is a write, or a flush if it has no length.
type event struct{ at, length, logged int64 }

const maxWrite = 128 << 10

// newDisk mounts the file system at a directory; the disk is the file "disk" in it.
func newDisk(dir, scratch string, size int64) (*disk, error) {
	d := &disk{size: size}
	var err error
	if d.now, err = os.Create(filepath.Join(scratch, "now")); err != nil {
		return nil, err
	}
	if d.log, err = os.Create(filepath.Join(scratch, "log")); err != nil {
		return nil, err
	}
	if err := d.now.Truncate(size); err != nil {
		return nil, err
	}
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: "/dev/fuse", Err: err}
	}
	d.fuse = os.NewFile(uintptr(fd), "/dev/fuse")
	if err := unix.Mount("powercut", dir, "fuse", unix.MS_NOSUID|unix.MS_NODEV, fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0", fd)); err != nil {
		return nil, fmt.Errorf("mounting a FUSE file system: %w", err)
	}
	go d.serve()
	return d, nil
}

// Requests of the kernel (include/uapi/linux/fuse.h).
const (
	opLookup      = 1
	opForget      = 2
	opGetattr     = 3
	opSetattr     = 4
	opOpen        = 14
	opRead        = 15
	opWrite       = 16
	opStatfs      = 17
	opRelease     = 18
	opFsync       = 20
	opFlush       = 25
	opInit        = 26
	opInterrupt   = 36
	opBatchForget = 42

	headerSize = 40
	diskNode   = 2
)

var order = binary.NativeEndian

// serve answers requests, one after the other: their order is that of the log.
func (d *disk) serve() {
	buffer := make([]byte, maxWrite+4096)
	for {
		n, err := unix.Read(int(d.fuse.Fd()), buffer)
		if errors.Is(err, unix.EINTR) || errors.Is(err, unix.ENOENT) {
			continue
		}
		if err != nil {
			return // it is unmounted
		}
		request := buffer[:n]
		op, unique, node := order.Uint32(request[4:]), order.Uint64(request[8:]), order.Uint64(request[16:])
		if op == opForget || op == opBatchForget || op == opInterrupt {
			continue
		}
		body, errno := d.answer(op, node, request[headerSize:])
		if errno != 0 {
			body = nil
		}
		reply := make([]byte, 16, 16+len(body))
		order.PutUint32(reply, uint32(16+len(body)))
		order.PutUint32(reply[4:], uint32(-int32(errno)))
		order.PutUint64(reply[8:], unique)
		_, _ = unix.Write(int(d.fuse.Fd()), append(reply, body...))
	}
}

func (d *disk) answer(op uint32, node uint64, body []byte) ([]byte, unix.Errno) {
	switch op {
	case opInit:
		out := make([]byte, 64)
		order.PutUint32(out, 7)
		order.PutUint32(out[4:], 31)
		order.PutUint32(out[8:], maxWrite)
		order.PutUint32(out[12:], 1<<5|1<<22) // large writes
		order.PutUint32(out[20:], maxWrite)
		order.PutUint32(out[24:], 1)
		order.PutUint16(out[28:], maxWrite/4096)
		return out, 0
	case opLookup:
		if string(body) != "disk\x00" {
			return nil, unix.ENOENT
		}
		out := make([]byte, 40)
		order.PutUint64(out, diskNode)
		return append(out, d.attr(diskNode)...), 0
	case opGetattr, opSetattr:
		return append(make([]byte, 16), d.attr(node)...), 0
	case opOpen:
		return make([]byte, 16), 0
	case opRead:
		out := make([]byte, order.Uint32(body[16:]))
		n, err := d.now.ReadAt(out, int64(order.Uint64(body[8:])))
		if n == 0 && err != nil && int64(order.Uint64(body[8:])) < d.size {
			return nil, unix.EIO
		}
		return out[:n], 0
	case opWrite:
		return d.write(int64(order.Uint64(body[8:])), body[40:40+order.Uint32(body[16:])])
	case opFsync:
		d.mu.Lock()
		d.events = append(d.events, event{})
		d.mu.Unlock()
		return nil, 0
	case opFlush, opRelease:
		return nil, 0
	case opStatfs:
		return make([]byte, 80), 0
	}
	return nil, unix.ENOSYS
}

// attr is a struct fuse_attr.
func (d *disk) attr(node uint64) []byte {
	out := make([]byte, 88)
	order.PutUint64(out, node)
	mode := uint32(unix.S_IFDIR | 0o700)
	if node == diskNode {
		mode = unix.S_IFREG | 0o600
		order.PutUint64(out[8:], uint64(d.size))
	}
	order.PutUint32(out[60:], mode)
	order.PutUint32(out[64:], 1)
	order.PutUint32(out[80:], 4096)
	return out
}

func (d *disk) write(at int64, data []byte) ([]byte, unix.Errno) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, err := d.log.WriteAt(data, d.logged); err != nil {
		return nil, unix.EIO
	}
	if _, err := d.now.WriteAt(data, at); err != nil {
		return nil, unix.EIO
	}
	d.events = append(d.events, event{at, int64(len(data)), d.logged})
	d.logged += int64(len(data))
	out := make([]byte, 8)
	order.PutUint32(out, uint32(len(data)))
	return out, 0
}

// moment is how many events there were until now.
func (d *disk) moment() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.events)
}

// cut writes the disk as a power cut after so many events may leave it: all that was written before the
// last flush, and of the rest each write with a probability.
func (d *disk) cut(to string, moment int, probability float64, dice *rand.Rand) error {
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	defer out.Close()
	if err := out.Truncate(d.size); err != nil {
		return err
	}
	flushed := moment
	for flushed > 0 && d.events[flushed-1].length > 0 {
		flushed--
	}
	buffer := make([]byte, maxWrite)
	for i, e := range d.events[:moment] {
		if e.length == 0 || i >= flushed && dice.Float64() >= probability {
			continue
		}
		if _, err := d.log.ReadAt(buffer[:e.length], e.logged); err != nil {
			return err
		}
		if _, err := out.WriteAt(buffer[:e.length], e.at); err != nil {
			return err
		}
	}
	return nil
}
