// Package login keeps, finds and forgets the logins of registries. It needs no Builder: it is done
// in this process, so that credential helpers find the user's environment.
package login

import (
	"context"

	"github.com/oakum-build/oakum/builder"
	"github.com/oakum-build/oakum/storage/authfile"
	"github.com/oakum-build/oakum/storage/registry"
)

// CheckFile gives an error for an auth file, as in builder.Registry, that cannot be read; ""
// is none.
func CheckFile(path string) error { return authfile.Check(path) }

// ErrNotLoggedIn says that there is no login for a registry.
var ErrNotLoggedIn = authfile.ErrNotLoggedIn

// Place is where logins for registries are kept. The zero value is where Podman keeps
// them: with the helper of registries.conf, in the auth.json of the session, or in that of
// the home where there is no session.
type Place struct {
	AuthFile string // an auth.json instead
	Docker   string // or a config.json of Docker's, with the helper that it names
}

// LogIn asks a registry whether it takes reg.Username and reg.Password, and keeps them for
// it, or for a namespace or repository in it. It says where they are kept, for people.
// reg.AuthFile and reg.Host have no meaning. A registry that refuses is a *builder.RegistryError.
func (p Place) LogIn(ctx context.Context, name string, reg builder.Registry) (where string, err error) {
	return registry.LogIn(ctx, registry.Access{CertDir: reg.CertDir, TLSVerify: reg.TLSVerify}, authfile.Place(p), name, reg.Username, reg.Password)
}

// LogOut forgets the login for a registry, a namespace or a repository; "" is all. Logins
// that are kept elsewhere stay; remains is the user of one that is still found for it. The
// error matches ErrNotLoggedIn when there was none to forget.
func (p Place) LogOut(ctx context.Context, name string) (remains string, err error) {
	return authfile.Place(p).Forget(ctx, name)
}

// User is the user whose login is found for a registry, a namespace or a repository. The
// error matches ErrNotLoggedIn when there is none.
func (p Place) User(ctx context.Context, name string) (string, error) {
	return authfile.Place(p).User(ctx, name)
}
