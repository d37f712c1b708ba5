// Package registry reaches registries: with logins that go to the registry they are for and to no
// other, within limits of time, and again where a fault may pass. What fails is an *Error.
package registry

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"

	digest "github.com/opencontainers/go-digest"
	"go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/pkg/sysregistriesv2"
	"go.podman.io/image/v5/types"

	"github.com/oakum-build/oakum/storage/authfile"
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
	// Logins finds the logins for repositories, as authfile.Find does; nil finds none.
	Logins func(ctx context.Context, authFile string, repositories []string) (authfile.Logins, error) `json:"-"`
	// Retry says how often a transfer is tried again, and Limits how slow it may be.
	Retry  retry.Policy `json:"-"`
	Limits stall.Limits `json:"-"`
	// Notice is told what went wrong without being an error; it may be nil.
	Notice func(text string) `json:"-"`
	// Progress is told how far blobs have come, some ten times a second for each, by several goroutines
	// at once; it may be nil.
	Progress func(Moved) `json:"-"`
}

// Moved is how far a blob of an image has come on its way.
type Moved struct {
	Ref    string // of the image, as the caller gave it
	Pushed bool   // or pulled
	Blob   digest.Digest
	Offset int64 // bytes of it so far, of Size; of what is compressed on the way, before it is
	Size   int64 // -1 where it is not known
}

// Moving is a with Progress for one image.
func (a Access) Moving(ref string, pushed bool) Access {
	if tell := a.Progress; tell != nil {
		a.Progress = func(m Moved) {
			m.Ref, m.Pushed = ref, pushed
			tell(m)
		}
	}
	return a
}

// Noticef tells Notice.
func (a Access) Noticef(format string, args ...any) {
	if a.Notice != nil {
		a.Notice(fmt.Sprintf(format, args...))
	}
}

// SystemContext is how containers/image goes about one call, but for the logins, which
// Transfer adds, and a directory for large temporary files, which is the store's matter.
func (a Access) SystemContext() *types.SystemContext {
	sys := &types.SystemContext{
		SystemRegistriesConfPath: os.Getenv("CONTAINERS_REGISTRIES_CONF"),
		SignaturePolicyPath:      a.SignaturePolicy,
		DockerCertPath:           a.CertDir,
		DockerRegistryUserAgent:  "oakum",
	}
	if a.TLSVerify != nil {
		sys.DockerInsecureSkipTLSVerify = types.NewOptionalBool(!*a.TLSVerify)
		sys.OCIInsecureSkipTLSVerify = !*a.TLSVerify
	}
	return sys
}

// Transfer does a transfer with a registry: with its logins, within the limits, and again
// when it failed for a reason that may pass. verb begins errors. An error is an *Error, unless
// it is of ctx or of this machine (Explain, Local).
func Transfer(ctx context.Context, sys *types.SystemContext, a Access, verb string, named reference.Named,
	do func(ctx context.Context, sys *types.SystemContext) error) error {
	s, err := Open(ctx, sys, a, verb, named)
	if err != nil {
		return err
	}
	defer s.Close()
	return s.Do(ctx, verb, do)
}

// What a Transfer does.
const (
	Pulling   = "pulling"
	Asking    = "asking for the digest of"
	PushingTo = "pushing to"
	MayPush   = "asking for leave to push to"
)

// Session is the way to one repository for several transfers, with the logins as they were found when
// it was opened.
type Session struct {
	access Access
	named  reference.Named
	sys    *types.SystemContext
	done   func()
}

// Open finds the logins for a repository. The Session must be closed. It fails as Transfer does.
func Open(ctx context.Context, sys *types.SystemContext, a Access, verb string, named reference.Named) (*Session, error) {
	with, done, err := reach(ctx, sys, a, named, verb == Pulling)
	if err != nil {
		return nil, asked(verb, named, Local(err))
	}
	return &Session{a, named, with, done}, nil
}

// Do is Transfer within the session. It may be called by several goroutines at once.
func (s *Session) Do(ctx context.Context, verb string, do func(ctx context.Context, sys *types.SystemContext) error) error {
	err := s.access.Retry.Do(ctx, verb+" "+s.named.String(), temporary, func() error {
		watched, stop := stall.Watch(ctx, s.access.Limits)
		defer stop()
		return stall.Cause(watched, do(watched, s.sys))
	})
	return asked(verb, s.named, err)
}

// System is how the repository is reached: with its logins, until Close.
func (s *Session) System() *types.SystemContext { return s.sys }

// Close forgets the logins.
func (s *Session) Close() { s.done() }

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
		if !pulling {
			one.DockerProxy = guardUploads(reference.Domain(named), one.DockerProxy)
		}
	}
	path, done, err := authfile.InMemory(logins)
	if err != nil {
		return nil, nil, err
	}
	one.AuthFilePath = path
	return &one, done, nil
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
func (a Access) logins(ctx context.Context, named reference.Named, places []place) (map[string]authfile.Login, error) {
	all := map[string]authfile.Login{}
	var wanted []reference.Named
	for _, p := range append([]place{{ref: named}}, places...) {
		if a.Username != "" && reference.Domain(p.ref) == a.host(named) {
			all[p.ref.Name()] = authfile.Login{Username: a.Username, Password: a.Password}
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
		a.Noticef("%s", problem)
	}
	for repository, l := range found.Found {
		all[repository] = l
	}
	return all, nil
}

// repositories are the distinct ones of references.
func repositories(refs []reference.Named) []string {
	var all []string
	for _, ref := range refs {
		if !slices.Contains(all, ref.Name()) {
			all = append(all, ref.Name())
		}
	}
	return all
}

// host is the registry that Username and Password are for.
func (a Access) host(named reference.Named) string {
	switch a.Host {
	case "":
		return reference.Domain(named)
	case "index.docker.io", "registry-1.docker.io":
		return "docker.io"
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

// guardUploads refuses to send an upload, with which the login goes along, to another server than
// the registry: it says itself where an upload is to go (OCI distribution specification, "Pushing a
// blob in chunks": Location).
func guardUploads(registry string, next func(*url.URL) (*url.URL, error)) func(*url.URL) (*url.URL, error) {
	if registry == "docker.io" {
		registry = "registry-1.docker.io"
	}
	return func(u *url.URL) (*url.URL, error) {
		if strings.Contains(u.Path, "/blobs/uploads/") && address(u.Host) != address(registry) {
			return nil, fmt.Errorf("%s wants what is pushed sent to %s, and a login for the one is not given to the other", registry, u.Host)
		}
		return next(u)
	}
}

// address is a host with a port; those of http and https are left away.
func address(host string) string {
	host = strings.ToLower(host)
	for _, port := range []string{":443", ":80"} {
		if name, ok := strings.CutSuffix(host, port); ok {
			return name
		}
	}
	return host
}

// loopback says that a host can only be this machine.
func loopback(host string) bool {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback() || host == "localhost" || strings.HasSuffix(host, ".localhost")
}
