package main

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/oakum-build/oakum/builder"
	"github.com/oakum-build/oakum/builder/cache"
	"github.com/oakum-build/oakum/builder/cache/gha"
	"github.com/oakum-build/oakum/builder/cache/s3"
)

// cacheService is a cache that is neither in a registry nor in a directory.
type cacheService struct {
	actions gha.Config
	version string // of the service of GitHub Actions, of which there is "2" here
	bucket  s3.Config
	place   cache.Place
	beside  cache.Place // for the caches of commands
}

// serviceEnv is what a command finds in its environment to reach services, and how often is tried again.
type serviceEnv struct {
	get   func(name string) string
	retry builder.Options
}

func readServices(c *cli.Context) (env serviceEnv, err error) {
	env.get = os.Getenv
	return env, retries(c, &env.retry)
}

func (p *cachePlace) setTimeout(value string) (err error) {
	p.service.actions.Timeout, err = time.ParseDuration(value)
	if err != nil || p.service.actions.Timeout <= 0 {
		return fmt.Errorf("must be a time such as 10m, not %q", value)
	}
	return nil
}

// open makes the place of a service, or says what there is not: a command line that is for jobs serves elsewhere too, and an
// environment is not the fault of who types it.
func (p *cachePlace) open(env serviceEnv) (missing string, err error) {
	switch p.kind {
	case inActions:
		return p.service.openActions(env)
	case inBucket:
		return p.service.openBucket(env)
	}
	return "", nil
}

func (s *cacheService) openActions(env serviceEnv) (missing string, err error) {
	a := &s.actions
	v2 := a.URL != ""
	if s.version == "" && !v2 {
		v2, _ = strconv.ParseBool(env.get("ACTIONS_CACHE_SERVICE_V2"))
	}
	a.URL, a.Token = cmp.Or(a.URL, env.get("ACTIONS_RESULTS_URL")), cmp.Or(a.Token, env.get("ACTIONS_RUNTIME_TOKEN"))
	switch {
	case s.version != "" && s.version != "1" && s.version != "2":
		return "", fmt.Errorf("version: must be 2, not %q", s.version)
	case a.Token == "":
		return "there is no token=, and no ACTIONS_RUNTIME_TOKEN, which a job has for actions and not for its commands (docs/cache.md)", nil
	case s.version == "1" || s.version == "" && !v2 && env.get("ACTIONS_CACHE_URL") != "":
		return "the service is of version 1, which GitHub has ended; use type=registry", nil
	case a.URL == "":
		return "there is no url_v2=, and no ACTIONS_RESULTS_URL", nil
	}
	a.Retries, a.RetryDelay = env.retry.Retries, env.retry.RetryDelay
	place, err := gha.Open(*a)
	if err != nil {
		return err.Error(), nil
	}
	beside := *a
	beside.Scope = cmp.Or(a.Scope, gha.DefaultScope) + mountsSuffix
	if s.beside, err = gha.Open(beside); err != nil {
		return err.Error(), nil
	}
	s.place = place
	return "", nil
}

func (s *cacheService) openBucket(env serviceEnv) (missing string, err error) {
	b := &s.bucket
	b.Region, b.Bucket = cmp.Or(b.Region, env.get("AWS_REGION"), env.get("AWS_DEFAULT_REGION")), cmp.Or(b.Bucket, env.get("AWS_BUCKET"))
	if b.AccessKeyID == "" && b.SecretAccessKey == "" && b.SessionToken == "" { // one that is given alone is of no use with others
		b.AccessKeyID, b.SecretAccessKey, b.SessionToken = env.get("AWS_ACCESS_KEY_ID"), env.get("AWS_SECRET_ACCESS_KEY"), env.get("AWS_SESSION_TOKEN")
	}
	switch {
	case b.Bucket == "":
		return "", errors.New("bucket=NAME is missing")
	case b.Region == "":
		return "", errors.New("region=NAME is missing")
	case b.AccessKeyID == "" || b.SecretAccessKey == "":
		return "there are no access_key_id= and secret_access_key=, and no AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; profiles and roles of machines are not looked for (docs/cache.md)", nil
	}
	b.Retries, b.RetryDelay = env.retry.Retries, env.retry.RetryDelay
	place, err := s3.Open(*b)
	if err != nil {
		return "", err
	}
	beside := *b
	beside.Name = cmp.Or(b.Name, s3.DefaultName) + mountsSuffix
	if s.beside, err = s3.Open(beside); err != nil {
		return "", err
	}
	s.place = place
	return "", nil
}
