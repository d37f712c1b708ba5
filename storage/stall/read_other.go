//go:build !linux

package stall

import (
	"errors"
	"syscall"
)

// read knows nothing of a connection, which is not watched then.
func read(syscall.Conn) (t traffic, unread int, err error) {
	return t, 0, errors.ErrUnsupported
}
