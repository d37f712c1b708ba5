package dockerfile

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/oakum-build/oakum/builder"
)

// Secrets are the secrets of a build, by the ids that a Dockerfile or a convention gives
// them. They are asked for when they are needed, from several goroutines.
//
// The ids of credentials are BuildKit's. HTTP_AUTH_TOKEN_<host> and
// HTTP_AUTH_HEADER_<host> are for the http and https URLs of ADD, of contexts and of
// Dockerfiles: a bearer token, which goes first, or the whole value of the Authorization
// header. GIT_AUTH_HEADER.<host>, GIT_AUTH_TOKEN.<host>, GIT_AUTH_HEADER and
// GIT_AUTH_TOKEN, in this order, are for git repositories over http and https; their host
// has the port of the URL, if that has one.
type Secrets interface {
	// Secret gives the value of a secret. The error matches ErrNoSecret when there is
	// none with this id.
	Secret(ctx context.Context, id string) ([]byte, error)
}

// ErrNoSecret is the error, by errors.Is, for a secret that is not there.
var ErrNoSecret = errors.New("no such secret")

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
func credentials(ref string, git bool) []credential {
	u, err := url.Parse(ref)
	if git && strings.HasPrefix(ref, "github.com/") {
		u, err = url.Parse("https://" + ref)
	}
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https":
		return nil
	case git:
		return []credential{
			{"GIT_AUTH_HEADER." + u.Host, asHeader}, {"GIT_AUTH_TOKEN." + u.Host, asBasic},
			{"GIT_AUTH_HEADER", asHeader}, {"GIT_AUTH_TOKEN", asBasic},
		}
	}
	return []credential{{"HTTP_AUTH_TOKEN_" + u.Hostname(), asBearer}, {"HTTP_AUTH_HEADER_" + u.Hostname(), asHeader}}
}

// remoteFile makes a source to fetch, with what its server wants to see.
func (o Options) remoteFile(ctx context.Context, ref string, git bool) (remoteFile, error) {
	f := remoteFile{ref: ref, git: git, agent: o.SSH[defaultSSH]}
	if o.Secrets == nil {
		return f, nil
	}
	for _, c := range credentials(ref, git) {
		value, err := o.Secrets.Secret(ctx, c.id)
		if errors.Is(err, ErrNoSecret) {
			continue
		}
		if err != nil {
			return f, fmt.Errorf("secret %s: %w", c.id, err)
		}
		secret := strings.TrimRight(string(value), "\r\n") // a file may end in a line break
		if strings.ContainsAny(secret, "\r\n\x00") {
			return f, fmt.Errorf("secret %s: %w: it has several lines", c.id, builder.ErrInvalid)
		}
		if secret != "" {
			f.authorization = c.make(secret)
			return f, nil
		}
	}
	return f, nil
}
