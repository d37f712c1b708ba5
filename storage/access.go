//go:build linux

package storage

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"

	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/pkg/sysregistriesv2"
	"go.podman.io/image/v5/types"

	"github.com/oakum-build/oakum/storage/retry"
	"github.com/oakum-build/oakum/storage/stall"
)

// Access says how registries are reached for one call.
type Access struct {
	AuthFile string
	// Username and Password are for the registry Host and for no other. An empty Host is
	// the registry that the call names, which it must do in full.
	Username, Password, Host string
	CertDir                  string
	TLSVerify                *bool
	SignaturePolicy          string
	// Logins finds the logins for repositories, as FindLogins does; nil finds none.
	Logins func(ctx context.Context, authFile string, repositories []string) (Logins, error) `json:"-"`
	// Retry says how often a transfer is tried again, and Limits how slow it may be.
	Retry  retry.Policy `json:"-"`
	Limits stall.Limits `json:"-"`
	// Notice is told what went wrong without being an error; it may be nil.
	Notice func(text string) `json:"-"`
}

func (a Access) notice(format string, args ...any) {
	if a.Notice != nil {
		a.Notice(fmt.Sprintf(format, args...))
	}
}

// systemContext is how containers/image goes about one call. Its large temporary files
// are in TMPDIR or in the store, where the next process sweeps those of a killed one.
func (s *Store) systemContext(a Access) (*types.SystemContext, error) {
	sys := registriesConf()
	sys.DockerCertPath = a.CertDir
	sys.SignaturePolicyPath = a.SignaturePolicy
	sys.DockerRegistryUserAgent = "oakum"
	var err error
	if sys.BigFilesTemporaryDir, err = s.bigFilesDir(); err != nil {
		return nil, fmt.Errorf("making a directory for temporary files: %w", err)
	}
	if a.TLSVerify != nil {
		sys.DockerInsecureSkipTLSVerify = types.NewOptionalBool(!*a.TLSVerify)
		sys.OCIInsecureSkipTLSVerify = !*a.TLSVerify
	}
	return sys, nil
}

// transfer does a transfer with a registry: with its logins, within the limits, and again
// when it failed for a reason that may pass. verb, such as "pulling", begins errors.
func transfer(ctx context.Context, sys *types.SystemContext, a Access, verb string, named reference.Named,
	do func(ctx context.Context, sys *types.SystemContext) error) error {
	with, done, err := reach(ctx, sys, a, named, verb == pulling)
	if err != nil {
		return asked(verb, named, &localError{err})
	}
	defer done()
	err = a.Retry.Do(ctx, verb+" "+named.String(), temporary, func() error {
		watched, stop := stall.Watch(ctx, a.Limits)
		defer stop()
		return stall.Cause(watched, do(watched, with))
	})
	return asked(verb, named, err)
}

// What a transfer does.
const (
	pulling   = "pulling"
	asking    = "asking for the digest of"
	pushingTo = "pushing to"
)

// reach completes sys for one image in a registry: with its login, and in pulling those of
// its mirrors. They are in memory alone until done is called.
func reach(ctx context.Context, sys *types.SystemContext, a Access, named reference.Named, pulling bool) (with *types.SystemContext, done func(), err error) {
	places := []place{{named, false}}
	if pulling {
		if places, err = pullPlaces(sys, named); err != nil {
			return nil, nil, err
		}
	}
	logins, err := a.logins(ctx, named, places)
	if err != nil {
		return nil, nil, err
	}
	one := *sys
	// Even an empty one keeps containers/image from looking for itself.
	own := types.DockerAuthConfig(logins[named.Name()])
	one.DockerAuthConfig = &own
	if len(logins) > 0 {
		one.DockerProxy = guardPlain(sys, places)
	}
	data, err := authJSON(logins)
	if err != nil {
		return nil, nil, err
	}
	f, err := inMemory("auth.json", data)
	if err != nil {
		return nil, nil, err
	}
	one.AuthFilePath = memoryPath(f)
	return &one, func() { f.Close() }, nil
}

// place is where an image may be pulled from.
type place struct {
	ref      reference.Named
	insecure bool
}

// pullPlaces are an image's own registry and its mirrors, by registries.conf.
func pullPlaces(sys *types.SystemContext, named reference.Named) ([]place, error) {
	reg, err := sysregistriesv2.FindRegistry(sys, named.Name())
	if err != nil {
		return nil, fmt.Errorf("reading registries.conf: %w", err)
	}
	if reg == nil {
		return []place{{named, false}}, nil
	}
	sources, err := reg.PullSourcesFromReference(named)
	if err != nil {
		return nil, fmt.Errorf("registries.conf: %w", err)
	}
	var places []place
	for _, s := range sources {
		places = append(places, place{s.Reference, s.Endpoint.Insecure})
	}
	return places, nil
}

// logins are those for the places of an image, by repository.
func (a Access) logins(ctx context.Context, named reference.Named, places []place) (map[string]Login, error) {
	all := map[string]Login{}
	var wanted []reference.Named
	for _, p := range append([]place{{ref: named}}, places...) {
		if a.Username != "" && reference.Domain(p.ref) == a.host(named) {
			all[p.ref.Name()] = Login{Username: a.Username, Password: a.Password}
			continue
		}
		wanted = append(wanted, p.ref)
	}
	if a.Logins == nil || len(wanted) == 0 {
		return all, nil
	}
	found, err := a.Logins(ctx, a.AuthFile, repositories(wanted))
	if err != nil {
		return nil, err
	}
	for _, problem := range found.Problems {
		a.notice("%s", problem)
	}
	for repository, l := range found.Found {
		all[repository] = l
	}
	return all, nil
}

// host is the registry that Username and Password are for.
func (a Access) host(named reference.Named) string {
	switch a.Host {
	case "":
		return reference.Domain(named)
	case "index.docker.io", "registry-1.docker.io":
		return dockerHub
	}
	return a.Host
}

// guardPlain refuses requests over plain http while there are logins, which could go
// along: a registry may lead to another address by a redirect, or by naming it as the
// server of its tokens. This machine, and what the user named insecure, are excepted.
func guardPlain(sys *types.SystemContext, places []place) func(*url.URL) (*url.URL, error) {
	insecure := map[string]bool{}
	for _, p := range places {
		insecure[reference.Domain(p.ref)] = p.insecure
	}
	return func(u *url.URL) (*url.URL, error) {
		if u.Scheme == "http" && !loopback(u.Hostname()) && !insecure[u.Host] && sys.DockerInsecureSkipTLSVerify != types.OptionalBoolTrue {
			reg, err := sysregistriesv2.FindRegistry(sys, u.Host)
			if err != nil || reg == nil || !reg.Insecure {
				return nil, fmt.Errorf("a login is not sent over http to %s, where everybody on the way can read it; if that must be, name it insecure in registries.conf", u.Host)
			}
		}
		return http.ProxyFromEnvironment(&http.Request{URL: u})
	}
}

// loopback says that a host can only be this machine.
func loopback(host string) bool {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback() || host == "localhost" || strings.HasSuffix(host, ".localhost")
}

// errCreds says that it is not clear which registry credentials are for.
var errCreds = errors.New("the credentials are for one registry, and a short name may lead to several: write the image's name with its registry")
