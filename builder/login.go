//go:build linux

package builder

import (
	"context"
	"errors"
	"fmt"

	"github.com/oakum-build/oakum/storage"
)

// What has to do with logins needs no Builder: it is done in this process, so that
// credential helpers find the user's environment.

// CheckAuthFile gives an error for an auth file, as in Registry, that cannot be read; ""
// is none.
func CheckAuthFile(path string) error { return storage.CheckAuthFile(path) }

// ErrNotLoggedIn says that there is no login for a registry.
var ErrNotLoggedIn = errors.New("not logged in")

// Logins is where logins for registries are kept. The zero value is where Podman keeps
// them: with the helper of registries.conf, in the auth.json of the session, or in that of
// the home where there is no session.
type Logins struct {
	AuthFile string // an auth.json instead
	Docker   string // or a config.json of Docker's, with the helper that it names
}

// LogIn asks a registry whether it takes reg.Username and reg.Password, and keeps them for
// it, or for a namespace or repository in it. It says where they are kept, for people.
// reg.AuthFile and reg.Host have no meaning. A registry that refuses is a *RegistryError.
func (l Logins) LogIn(ctx context.Context, registry string, reg Registry) (where string, err error) {
	where, err = storage.LogIn(ctx, reg.access(), storage.LoginPlace(l), registry, reg.Username, reg.Password)
	return where, loginError(err)
}

// LogOut forgets the login for a registry, a namespace or a repository; "" is all. Logins
// that are kept elsewhere stay; remains is the user of one that is still found for it. The
// error matches ErrNotLoggedIn when there was none to forget.
func (l Logins) LogOut(ctx context.Context, registry string) (remains string, err error) {
	remains, err = storage.LogOut(ctx, storage.LoginPlace(l), registry)
	return remains, loginError(err)
}

// User is the user whose login is found for a registry, a namespace or a repository. The
// error matches ErrNotLoggedIn when there is none.
func (l Logins) User(ctx context.Context, registry string) (string, error) {
	user, err := storage.LoggedInAs(ctx, storage.LoginPlace(l), registry)
	return user, loginError(err)
}

// loginError gives an error of package storage the type that this package promises.
func loginError(err error) error {
	var failed *storage.RegistryError
	switch {
	case errors.As(err, &failed):
		return &RegistryError{Host: failed.Host, Reason: RegistryReason(failed.Reason), text: failed.Error()}
	case errors.Is(err, storage.ErrReference):
		return &kindError{ErrReference, err.Error()}
	case errors.Is(err, storage.ErrNotLoggedIn):
		return &kindError{ErrNotLoggedIn, fmt.Sprint(err)}
	}
	return err
}
