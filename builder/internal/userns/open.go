//go:build linux && !otheros

package userns

import (
	"context"
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// open tries the kinds of workers, the best first.
func open(ctx context.Context, opts Options) (*Process, error) {
	program, err := opts.program()
	if err != nil {
		return nil, err
	}
	var refused []Fault
	for kind := first(opts); ; {
		p, err := try(ctx, program, opts, kind)
		if err == nil {
			p.Kind, p.Refused = kind, refused
			return p, nil
		}
		var fault *Fault
		if !errors.As(err, &fault) || fault.Lack == "" || kind == Plain {
			return nil, err
		}
		refused = append(refused, *fault)
		kind = kind.without(fault.Lack)
	}
}

// first is the best kind that this process may ask for.
func first(opts Options) Kind {
	switch {
	case opts.Plain:
		return Plain
	case os.Geteuid() == 0 && hasCapability(unix.CAP_SYS_ADMIN):
		return Root
	}
	return AllIDs
}

// without is the best kind after one that the machine lacks something for.
func (k Kind) without(lack Lack) Kind {
	switch {
	case lack == Proc && kinds[k].shared != "":
		return kinds[k].shared
	case lack == IDs && k == AllIDs:
		return OneID
	case lack == IDs && k == allIDsShared:
		return oneIDShared
	}
	return Plain
}

// try starts a worker of a kind.
func try(ctx context.Context, program string, opts Options, kind Kind) (*Process, error) {
	maps, err := mapsOf(kind)
	if err != nil {
		return nil, err
	}
	p, sync, err := start(program, opts, kind)
	if err != nil {
		return nil, err
	}
	defer sync.Close()
	stop := context.AfterFunc(ctx, p.end)
	err = handshake(sync, p.cmd.Process.Pid, maps, opts)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	p.taken <- err == nil
	if err != nil {
		p.Kill()
		return nil, p.explain(ctx, err, opts)
	}
	return p, nil
}
