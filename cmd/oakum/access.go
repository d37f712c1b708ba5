package main

import (
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/oakum-build/oakum/builder"
	"github.com/oakum-build/oakum/builder/login"
)

// registryFlags says how registries are reached.
func registryFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "authfile", EnvVars: []string{"REGISTRY_AUTH_FILE"}, Usage: "take registry credentials from `FILE`"},
		&cli.StringFlag{Name: "creds", Usage: "log in with `USER:PASSWORD` to the registry that the command names, and to no other"},
		&cli.StringFlag{Name: "cert-dir", Usage: "take client certificates and CAs from `DIR`"},
		&cli.BoolFlag{Name: "tls-verify", Usage: "require HTTPS and check certificates; without the flag, registries.conf decides"},
		&cli.IntFlag{Name: "retry", Value: 3, Usage: "try `N` times more what failed for a reason that may pass: pulls, pushes, downloads and git"},
		&cli.DurationFlag{Name: "retry-delay", Value: 2 * time.Second, Usage: "wait for `DURATION` before the first of them, and twice as long before each further one"},
		&cli.StringFlag{Name: "signature-policy", Usage: "take the policy of signatures from `FILE` instead of policy.json"},
	}
}

// retries reads how often to try again.
func retries(c *cli.Context, opts *builder.Options) error {
	opts.Retries, opts.RetryDelay = c.Int("retry"), c.Duration("retry-delay")
	if opts.Retries < 0 || opts.RetryDelay < 0 {
		return usagef("--retry and --retry-delay must not be negative")
	}
	if opts.Retries == 0 && c.IsSet("retry") {
		opts.Retries = -1
	}
	return nil
}

// registry reads registryFlags.
func registry(c *cli.Context) (builder.Registry, error) {
	r := builder.Registry{AuthFile: c.String("authfile"), CertDir: c.String("cert-dir"), SignaturePolicy: c.String("signature-policy")}
	if err := login.CheckFile(r.AuthFile); err != nil {
		return r, err
	}
	if creds := c.String("creds"); creds != "" {
		user, password, ok := strings.Cut(creds, ":")
		if !ok || user == "" {
			return r, usagef("--creds must be USER:PASSWORD")
		}
		r.Username, r.Password = user, password
	}
	if c.IsSet("tls-verify") {
		verify := c.Bool("tls-verify")
		r.TLSVerify = &verify
	}
	return r, nil
}

// forOne says which registry --creds is for: that of the images that the command line
// names. It is not one that a Dockerfile names.
func forOne(r builder.Registry, names []string, how string) (builder.Registry, error) {
	if r.Username == "" {
		return r, nil
	}
	hosts := registriesIn(names)
	if len(hosts) != 1 {
		e := usagef("--creds is for one registry, and it is not clear which")
		e.hint = how + ", or log in to it before: oakum login REGISTRY"
		return r, e
	}
	r.Host = hosts[0]
	return r, nil
}

// registriesIn are the registries that names say, each once.
func registriesIn(names []string) (hosts []string) {
	for _, name := range names {
		host, rest, _ := strings.Cut(strings.TrimPrefix(name, "docker://"), "/")
		if rest != "" && (strings.ContainsAny(host, ".:") || host == "localhost") && !slices.Contains(hosts, host) {
			hosts = append(hosts, host)
		}
	}
	return hosts
}
