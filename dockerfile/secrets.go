package dockerfile

import (
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"

	"github.com/oakum-build/oakum/builder"
	"github.com/oakum-build/oakum/builder/limits"
	"github.com/oakum-build/oakum/dockerfile/internal/load"
)

// Secrets are the secrets of a build, by the ids that a Dockerfile or a convention gives
// them. Each is asked for once at most in a build, and one after the other: those of
// RUN --mount=type=secret before anything is built, others when they are needed.
//
// The ids of credentials are BuildKit's. HTTP_AUTH_TOKEN_<host> and
// HTTP_AUTH_HEADER_<host> are for the http and https URLs of ADD, of contexts and of
// Dockerfiles: a bearer token, which goes first, or the whole value of the Authorization
// header. GIT_AUTH_HEADER.<host>, GIT_AUTH_TOKEN.<host>, GIT_AUTH_HEADER and
// GIT_AUTH_TOKEN, in this order, are for git repositories over http and https; their host
// has the port of the URL, if that has one. The two without a host are not for whatever
// host a Dockerfile names, but for that of Context.URL when it is a repository, else for the
// one host of the repositories in Context.Named, and without any for github.com.
//
// No credential goes over plain http, unless the host is this machine (loopback).
type Secrets interface {
	// Secret gives the value of a secret, of 500 KiB at most, which is not changed. The error
	// matches ErrNoSecret when there is none with this id.
	Secret(ctx context.Context, id string) ([]byte, error)
}

// ErrNoSecret is the error, by errors.Is, for a secret that is not there.
var ErrNoSecret = errors.New("no such secret")

// remembered are secrets that are asked for once: the file of one may be a pipe.
type remembered struct {
	from Secrets

	mu    sync.Mutex
	known map[string][]byte // nil is none
}

// remember makes remembered secrets of those of the options.
func (o *Options) remember() {
	if o.Credentials.Secrets != nil {
		o.Credentials.Secrets = &remembered{from: o.Credentials.Secrets, known: map[string][]byte{}}
	}
}

func (r *remembered) Secret(ctx context.Context, id string) ([]byte, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	value, known := r.known[id]
	if !known {
		var err error
		value, err = r.from.Secret(ctx, id)
		switch {
		case errors.Is(err, ErrNoSecret):
			value = nil
		case err != nil:
			return nil, err
		case len(value) > limits.MaxSecret:
			return nil, &limits.LimitError{Name: "it", Limit: limits.MaxSecret, Unit: "bytes"}
		case value == nil:
			value = []byte{}
		}
		r.known[id] = value
	}
	if value == nil {
		return nil, ErrNoSecret
	}
	return value, nil
}

// defaultSSH is the agent that git goes by.
const defaultSSH = "default"

// credential is a secret that makes the value of an Authorization header.
type credential struct {
	id   string
	make func(secret string) string
}

func asHeader(secret string) string { return secret }
func asBearer(secret string) string { return "Bearer " + secret }

// asBasic is how GitHub and others take tokens for git.
func asBasic(secret string) string {
	return "basic " + base64.StdEncoding.EncodeToString([]byte("x-access-token:"+secret))
}

// credentials lists what may give a remote source its authorization, the first that is
// there counting.
func (o Options) credentials(ref string, git bool) []credential {
	u := webURL(ref)
	switch {
	case u == nil:
		return nil
	case git:
		all := []credential{{"GIT_AUTH_HEADER." + u.Host, asHeader}, {"GIT_AUTH_TOKEN." + u.Host, asBasic}}
		if strings.EqualFold(u.Host, o.gitHost()) {
			all = append(all, credential{"GIT_AUTH_HEADER", asHeader}, credential{"GIT_AUTH_TOKEN", asBasic})
		}
		return all
	}
	return []credential{{"HTTP_AUTH_TOKEN_" + u.Hostname(), asBearer}, {"HTTP_AUTH_HEADER_" + u.Hostname(), asHeader}}
}

// webURL is the http or https URL that a remote source stands for; nil is none.
func webURL(ref string) *url.URL {
	if strings.HasPrefix(ref, "github.com/") {
		ref = "https://" + ref
	}
	u, err := url.Parse(ref)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" {
		return nil
	}
	return u
}

// gitHost is the host that credentials for git are for when they name none: what the
// caller asked for counts, and never what a Dockerfile says. "" is no host.
func (o Options) gitHost() string {
	if u := webURL(o.Context.URL); u != nil && load.IsRepository(o.Context.URL) {
		return u.Host
	}
	host := ""
	for _, ref := range o.Context.Named {
		u := webURL(ref)
		if u == nil || !load.IsRepository(ref) {
			continue
		}
		if host != "" && !strings.EqualFold(host, u.Host) {
			return ""
		}
		host = u.Host
	}
	return cmp.Or(host, "github.com")
}

// remote makes a source of what is to be fetched, with what its server wants to see, and
// says whether there is anything to show it.
func (o Options) remote(ctx context.Context, ref string) (src builder.Source, authorized bool, err error) {
	git := load.IsRepository(ref)
	if src = builder.URL(ref); git {
		src = builder.Git(ref).Agent(o.Credentials.SSH[defaultSSH].Socket)
	}
	if o.Credentials.Secrets == nil {
		return src, false, nil
	}
	for _, c := range o.credentials(ref, git) {
		value, err := o.Credentials.Secrets.Secret(ctx, c.id)
		if errors.Is(err, ErrNoSecret) {
			continue
		}
		if err != nil {
			return src, false, fmt.Errorf("secret %s: %w", c.id, err)
		}
		secret := strings.TrimRight(string(value), "\r\n") // a file may end in a line break
		if strings.ContainsAny(secret, "\r\n\x00") {
			return src, false, fmt.Errorf("secret %s: %w: it has several lines", c.id, builder.ErrInvalid)
		}
		if secret != "" {
			return src.Authorization(c.make(secret)), true, nil
		}
	}
	return src, false, nil
}

// withheld tells, with the error of a repository that could not be fetched, of a credential
// that was not sent there because it names no host. bare are the repositories to which none
// was sent.
func (o Options) withheld(ctx context.Context, bare []string, err error) error {
	if o.Credentials.Secrets == nil || !errors.Is(err, builder.ErrFetch) {
		return err
	}
	for _, ref := range bare {
		u := webURL(ref)
		if u == nil || strings.EqualFold(u.Host, o.gitHost()) {
			continue
		}
		for _, id := range []string{"GIT_AUTH_HEADER", "GIT_AUTH_TOKEN"} {
			if value, none := o.Credentials.Secrets.Secret(ctx, id); none == nil && len(value) > 0 {
				return fmt.Errorf("%w; the secret %s names no host, and so is not sent to one that a Dockerfile names: call it %s.%s if it is for that", err, id, id, u.Host)
			}
		}
	}
	return err
}
