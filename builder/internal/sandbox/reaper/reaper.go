//go:build linux

// Package reaper ends the processes of a command that has no PID namespace, with whose first process the
// kernel would end them all.
//
// This process is made the one to which the kernel gives processes whose parents have died
// (PR_SET_CHILD_SUBREAPER), and so is the first process of each command. All that a command has ever started
// is therefore below its first process, and once that has died, below this one: nothing leaves the tree.
package reaper

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/builder/internal/procfs"
)

// Reaper ends the processes of commands. It is safe for many goroutines.
type Reaper struct {
	foreign func(number int) bool
	proc    *os.File

	mu    sync.Mutex
	first map[int]bool // of the commands that run
}

// New makes this process the parent of those whose own have died. A process may have other children, such
// as helpers of a library: foreign tells a child that a command has left, by its number in /proc, from those, by
// something of which no process of a command can rid itself.
func New(foreign func(number int) bool) (*Reaper, error) {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return nil, os.NewSyscallError("prctl", err)
	}
	proc, err := os.Open("/proc")
	if err != nil {
		return nil, err
	}
	return &Reaper{foreign: foreign, proc: proc, first: map[int]bool{}}, nil
}

// Start starts a command by a function that gives the number of its first process, a child of this one
// that has the same attribute.
func (r *Reaper) Start(start func() (int, error)) (int, error) {
	r.mu.Lock() // or what is started could be taken for what a command has left
	defer r.mu.Unlock()
	pid, err := start()
	if err == nil {
		r.first[pid] = true
	}
	return pid, err
}

// longest is how long End waits for processes that have been killed.
const longest = 10 * time.Second

// End ends what a command has left, whose first process has ended and was waited for. When it returns nil,
// none of its processes is left.
func (r *Reaper) End(first int) error {
	r.mu.Lock()
	delete(r.first, first)
	r.mu.Unlock()
	start := time.Now()
	for pause := 50 * time.Microsecond; ; pause = min(2*pause, 20*time.Millisecond) {
		if childless() {
			return nil
		}
		left, err := r.sweep()
		if err != nil || len(left) == 0 {
			return err
		}
		if time.Since(start) > longest {
			return fmt.Errorf("processes of the command cannot be ended: %s", strings.Join(left, ", "))
		}
		time.Sleep(pause)
	}
}

// childless says that this process has no child at all, which most commands leave it as.
func childless() bool {
	err := unix.Waitid(unix.P_ALL, 0, nil, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT|unix.WALL, nil)
	return errors.Is(err, unix.ECHILD)
}

// sweep kills all processes that commands have left, and takes away those that are dead. It gives the names of
// those that were there.
func (r *Reaper) sweep() (left []string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	all, err := r.processes()
	if err != nil {
		return nil, err
	}
	doomed, err := r.doomed(all)
	if err != nil {
		return nil, err
	}
	// None of them starts another one while they are killed one after the other.
	for _, signal := range []unix.Signal{unix.SIGSTOP, unix.SIGKILL} {
		for _, p := range doomed {
			p.kill(signal, r.proc)
		}
	}
	for _, p := range doomed {
		if p.child {
			_, _ = unix.Wait4(p.pid, nil, unix.WNOHANG|unix.WALL, nil)
		}
		left = append(left, fmt.Sprintf("%d (%s)", p.pid, p.name))
	}
	return left, nil
}

// doomed are those of all processes that commands have left: children of this process, with all that is
// below them.
func (r *Reaper) doomed(all []process) ([]process, error) {
	self, err := procfs.Self()
	if err != nil {
		return nil, err
	}
	below := map[int][]process{}
	for _, p := range all {
		below[p.parent] = append(below[p.parent], p)
	}
	var out []process
	for _, p := range below[self] {
		p.child = true
		if p.pid, err = procfs.PID(p.number); err == nil && p.pid != 0 && !r.first[p.pid] && r.foreign(p.number) {
			out = append(out, p)
		}
	}
	for i := 0; i < len(out); i++ {
		for _, p := range below[out[i].number] {
			if p.pid, err = procfs.PID(p.number); err == nil && p.pid != 0 {
				out = append(out, p)
			}
		}
	}
	return out, nil // those that could not be read have ended
}

// process is one of /proc.
type process struct {
	number, parent int // there
	pid            int // as this process knows it
	child          bool
	name           string
	born           string // when; another process of the same number has another time
}

// processes are all that this process sees.
func (r *Reaper) processes() ([]process, error) {
	if _, err := r.proc.Seek(0, 0); err != nil {
		return nil, err
	}
	names, err := r.proc.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	var all []process
	buffer := make([]byte, 1024)
	for _, name := range names {
		if number, err := strconv.Atoi(name); err == nil {
			if p, there := look(r.proc, number, buffer); there {
				all = append(all, p)
			}
		}
	}
	return all, nil
}

// look reads the stat of a process, proc(5).
func look(proc *os.File, number int, buffer []byte) (process, bool) {
	fd, err := unix.Openat(int(proc.Fd()), strconv.Itoa(number)+"/stat", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return process{}, false
	}
	defer unix.Close(fd)
	n, err := unix.Read(fd, buffer)
	if err != nil {
		return process{}, false
	}
	text := string(buffer[:n])
	open, end := strings.IndexByte(text, '('), strings.LastIndexByte(text, ')')
	if open < 0 || end < open {
		return process{}, false
	}
	const parent, born = 1, 19 // of the fields behind the name, the first of which is the state
	fields := strings.Fields(text[end+1:])
	if len(fields) <= born {
		return process{}, false
	}
	p := process{number: number, name: text[open+1 : end], born: fields[born]}
	p.parent, err = strconv.Atoi(fields[parent])
	return p, err == nil
}

// kill sends a signal to the process, and to no other that has its number by now.
func (p process) kill(signal unix.Signal, proc *os.File) {
	fd, err := unix.PidfdOpen(p.pid, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	if now, there := look(proc, p.number, make([]byte, 1024)); there && now.born == p.born {
		_ = unix.PidfdSendSignal(fd, signal, nil, 0)
	}
}
