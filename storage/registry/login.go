package registry

import (
	"context"
	"errors"
	"fmt"

	"go.podman.io/image/v5/docker"

	"github.com/oakum-build/oakum/storage/authfile"
	"github.com/oakum-build/oakum/storage/stall"
)

// LogIn asks a registry whether it takes a login, and keeps it at place for a registry or, below
// it, a namespace or repository. It says where.
func LogIn(ctx context.Context, a Access, place authfile.Place, key, username, password string) (where string, err error) {
	if err := place.Check(); err != nil {
		return "", err
	}
	_, host, err := authfile.ParseKey(key)
	if err != nil {
		return "", err
	}
	sys := a.SystemContext()
	sys.DockerProxy = guardPlain(sys, nil)
	watched, stop := stall.Watch(ctx, a.Limits)
	defer stop()
	err = stall.Cause(watched, docker.CheckAuth(watched, sys, username, password, host))
	var wrong docker.ErrUnauthorizedForCredentials
	switch {
	case errors.As(err, &wrong):
		return "", &Error{Host: host, Err: fmt.Errorf("%w: %s does not take this user name and password: %w", ErrRegistry, host, wrong.Err)}
	case err != nil:
		return "", &Error{Host: host, Reason: reason(err), Err: fmt.Errorf("logging in to %s: %w: %w", host, ErrRegistry, err)}
	}
	return place.Keep(ctx, key, username, password)
}
