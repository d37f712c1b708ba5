//go:build linux

// Package procfs finds processes in /proc.
//
// Its numbers are those of the PID namespace that it was mounted for. In a container that can be the one
// around the container's: Podman's own image has its containers see the /proc that it sees itself, since none
// can be mounted in them. Then a number that this process knows is there another process's, or nobody's.
package procfs

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Self is the number of this process in /proc.
func Self() (int, error) {
	name, err := os.Readlink("/proc/self")
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(name)
}

// Own says that the numbers in /proc are those by which this process knows others.
func Own() bool {
	self, err := Self()
	return err == nil && self == os.Getpid()
}

// Number is the number in /proc of a process that this one knows as pid. The caller sees to it that the number is
// not given to another one meanwhile: the process is its child, and was not waited for.
func Number(pid int) (int, error) {
	if Own() {
		return pid, nil
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return 0, os.NewSyscallError("pidfd_open", err)
	}
	defer unix.Close(fd)
	info, err := os.ReadFile(fmt.Sprintf("/proc/self/fdinfo/%d", fd))
	if err != nil {
		return 0, err
	}
	// -1 of one that has ended, 0 of one that this /proc does not show (pidfd_open(2), proc_pid_fdinfo(5)).
	number, err := strconv.Atoi(field(info, "Pid"))
	if err != nil || number <= 0 {
		return 0, errors.Join(fmt.Errorf("the process %d is not in /proc: %w", pid, os.ErrProcessDone), err)
	}
	return number, nil
}

// PID is the reverse of Number: how this process knows one of its own PID namespace, or of one below that, that has
// the number in /proc.
func PID(number int) (int, error) {
	if Own() {
		return number, nil
	}
	own, err1 := namespaces("self")
	other, err2 := namespaces(strconv.Itoa(number))
	if err := errors.Join(err1, err2); err != nil || len(other) < len(own) {
		return 0, err
	}
	return strconv.Atoi(other[len(own)-1])
}

// Parent is the number in /proc of the parent of this process, or 0.
func Parent() (int, error) { return parent("self") }

// ParentOf is the number in /proc of the parent of the process that has a number there, or 0.
func ParentOf(number int) (int, error) { return parent(strconv.Itoa(number)) }

func parent(name string) (int, error) {
	status, err := os.ReadFile("/proc/" + name + "/status")
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(field(status, "PPid"))
}

// namespaces are the numbers of a process in all PID namespaces from that of /proc to its own.
func namespaces(name string) ([]string, error) {
	status, err := os.ReadFile("/proc/" + name + "/status")
	return strings.Fields(field(status, "NSpid")), err
}

// field gives the value of a line NAME: VALUE.
func field(text []byte, name string) string {
	for line := range bytes.Lines(text) {
		if value, ok := bytes.CutPrefix(line, []byte(name+":")); ok {
			return string(bytes.TrimSpace(value))
		}
	}
	return ""
}
