package main

import (
	"context"
	"errors"
	"os"
	"os/signal"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/builder/terminal"
)

// isTerminal says whether a stream is a terminal.
func isTerminal(stream any) bool {
	_, err := terminalState(stream)
	return err == nil
}

func terminalState(stream any) (*unix.Termios, error) {
	var state *unix.Termios
	err := ioctl(stream, func(fd int) (err error) {
		state, err = unix.IoctlGetTermios(fd, getTermios)
		return err
	})
	return state, err
}

// ioctl calls f with the descriptor of a stream, whose mode stays as it is.
func ioctl(stream any, f func(fd int) error) error {
	file, ok := stream.(*os.File)
	if !ok {
		return errors.New("not a file")
	}
	conn, err := file.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	if err := conn.Control(func(fd uintptr) { inner = f(int(fd)) }); err != nil {
		return err
	}
	return inner
}

// windowSize is the size of a terminal; 0 when it is none.
func windowSize(stream any) terminal.Size {
	var size terminal.Size
	_ = ioctl(stream, func(fd int) error {
		w, err := unix.IoctlGetWinsize(fd, unix.TIOCGWINSZ)
		if err == nil {
			size = terminal.Size{Rows: w.Row, Columns: w.Col}
		}
		return err
	})
	return size
}

// windowSizes gives the sizes that a terminal changes to until ctx ends.
func windowSizes(ctx context.Context, stream any) <-chan terminal.Size {
	sizes, changed := make(chan terminal.Size), make(chan os.Signal, 1)
	signal.Notify(changed, unix.SIGWINCH)
	go func() {
		defer signal.Stop(changed)
		for {
			select {
			case <-ctx.Done():
				return
			case <-changed:
			}
			select {
			case <-ctx.Done():
				return
			case sizes <- windowSize(stream):
			}
		}
	}()
	return sizes
}

// changeTerminal changes how a terminal works until restore is called or ctx ends.
func changeTerminal(ctx context.Context, stream any, change func(*unix.Termios)) (restore func(), err error) {
	before, err := terminalState(stream)
	if err != nil {
		return nil, err
	}
	set := func(state *unix.Termios) error {
		return ioctl(stream, func(fd int) error { return unix.IoctlSetTermios(fd, setTermios, state) })
	}
	changed := *before
	change(&changed)
	if err := set(&changed); err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = set(before) })
	return func() {
		stop()
		_ = set(before)
	}, nil
}

// raw makes a terminal pass every character on, also those that would signal this process.
func raw(t *unix.Termios) {
	t.Iflag &^= unix.IGNBRK | unix.BRKINT | unix.PARMRK | unix.ISTRIP | unix.INLCR | unix.IGNCR | unix.ICRNL | unix.IXON
	t.Oflag &^= unix.OPOST
	t.Lflag &^= unix.ECHO | unix.ECHONL | unix.ICANON | unix.ISIG | unix.IEXTEN
	t.Cflag = t.Cflag&^(unix.CSIZE|unix.PARENB) | unix.CS8
	t.Cc[unix.VMIN], t.Cc[unix.VTIME] = 1, 0
}

// silent makes a terminal not show what is typed.
func silent(t *unix.Termios) { t.Lflag &^= unix.ECHO }
