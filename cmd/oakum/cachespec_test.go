package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/oakum-build/oakum/dockerfile"
)

// What buildx and buildah take is taken, and what is wrong is said without the values, of which one may be
// a token.
func TestCachePlaces(t *testing.T) {
	t.Parallel()
	tests := []struct {
		text string
		to   bool
		want string // of %+v, in part
		says string // of an error or a warning
	}{
		{"", false, "[]", ""},
		{"", true, "[]", ""},
		{"registry.example/app", false, "kind:registry ref:registry.example/app", ""},
		{"registry.example/app:cache", true, "kind:registry ref:registry.example/app:cache dir: tag: all:true", ""},
		{"type=registry,ref=registry.example/app:c", false, "ref:registry.example/app:c", ""},
		{`type=registry,"ref=registry.example/app:c"`, false, "ref:registry.example/app:c", ""},
		{"ref=registry.example/app:c,type=registry", false, "ref:registry.example/app:c", ""},
		{" Type=registry,ref=a,mode=max,image-manifest=true,oci-mediatypes=true,ignore-error=true", true, "all:true mounts:false ignoreError:true", ""},
		{"type=registry,ref=a,mode=min", true, "all:false", ""},
		{"type=registry,ref=a,compression=zstd,compression-level=3,force-compression=true,mounts=true", true, "mounts:true", ""},
		{"type=local,src=/a/b,tag=x", false, "kind:local ref: dir:/a/b tag:x", ""},
		{"type=local,dest=/a/../b:1", true, "dir:/b:1 ", ""},
		{"type=inline", true, "kind:inline", ""},
		{"type=inline,mode=min", true, "kind:inline", ""},
		{"type=local,dest=/a,reset=false", true, "dir:/a", ""},
		{"type=gha,scope=main,token=t,url_v2=https://x/,timeout=5m,version=2", false, "Scope:main", ""},
		{"type=gha,mode=max,ignore-error=true,repository=a/b,ghtoken=SECRET,url=https://old/", true, "all:true", ""},
		{"type=gha,token=SECRET,version=1", false, "[]", "version 1, which GitHub has ended"},
		{"type=gha,token=SECRET,url_v2=SECRET", false, "[]", "its URL is none of http or https"},
		{"type=gha,url_v2=https://x/,version=3", true, "", "version: must be 2"},
		{"type=gha,timeout=soon", true, "", "must be a time such as 10m"},
		{"type=gha,mounts=true", true, "mounts:true", ""},
		{"type=gha,mode=max", false, "", "mode: is of --cache-to"},
		{"type=registry,ref=SECRET,scope=x", true, "", "scope: is not of type=registry"},
		{"type=s3,region=r,bucket=b,prefix=p/,name=n,endpoint_url=http://x/,use_path_style=true,access_key_id=i,secret_access_key=k,mode=max,upload_parallelism=2", true, "Prefix:p/", ""},
		{"type=s3,region=r,bucket=b,session_token=SECRET", false, "[]", "no access_key_id="},
		{"type=s3,region=r,secret_access_key=SECRET", false, "", "bucket=NAME is missing"},
		{"type=s3,bucket=b,secret_access_key=SECRET", false, "", "region=NAME is missing"},
		{"type=s3,region=r,bucket=b/SECRET,access_key_id=i,secret_access_key=SECRET", true, "", "cannot be one"},
		{"type=s3,region=r,bucket=b,use_path_style=perhaps", true, "", "true or false"},
		{"type=gha,bucket=b", true, "", "bucket: is not of type=gha"},
		{"type=azblob,account_url=SECRET", true, "[]", "type=azblob"},

		{"ref=SECRET", false, "", "ref: is not of type="},
		{"type=registry", false, "", "ref=NAME is missing"},
		{"type=local", false, "", "src=DIR is missing"},
		{"type=local", true, "", "dest=DIR is missing"},
		{"type=local,dest=/SECRET", false, "", "dest: is of --cache-to"},
		{"type=local,src=/SECRET", true, "", "src: is of --cache-from"},
		{"type=registry,ref=SECRET,mode=all", true, "", "must be min or max"},
		{"type=registry,ref=SECRET,mode=max", false, "", "mode: is of --cache-to"},
		{"type=registry,ref=SECRET,image-manifest=false", true, "", "image manifest in any case"},
		{"type=registry,ref=SECRET,oci-mediatypes=false", true, "", "media types of OCI"},
		{"type=local,dest=/SECRET,reset=true", true, "", "another tag or directory"},
		{"type=registry,ref=SECRET,ignore-error=perhaps", true, "", "true or false"},
		{"type=registry,ref=SECRET,compression=rot13", true, "", "unknown compression"},
		{"type=registry,ref=SECRET,compression-level=high", true, "", "must be a number"},
		{"type=registry,ref=SECRET,compression-level=99", true, "", "0 to 9"},
		{"type=registry,ref=SECRET,tag=x", false, "", "tag: is not of type=registry"},
		{"type=registry,ref=SECRET,password=SECRET", false, "", "password: is not known"},
		{"type=inline", false, "", "type=registry,ref=NAME"},
		{"type=inline,mode=max", true, "", "mode=max"},
		{"type=registry,ref=SECRET:1@sha256:12,mounts=true", false, "", "mounts: the caches of commands lie beside a tag"},
		{"type=registry,ref=SECRET@sha256:12,mounts=true", true, "", "mounts: the caches of commands lie beside a tag"},
		{"type=registry,ref=a@sha256:12,mounts=false", false, "ref:a@sha256:12", ""},
		{"type=inline,mounts=true", true, "", "mounts: is not of type=inline"},
		{"type=tape,ref=SECRET", false, "", "ref: is not of type=tape"},
		{"type=tape", false, "", "not known: it is registry, local, gha, s3 or inline"},
		{"type=registry,SECRET", false, "", "the part 2 of it is not NAME=VALUE"},
		{"\"SECRET", false, "", "not written as CSV"},
		{"type=registry,\"ref=SE\nCRET\"x", false, "", "not written as CSV"},
	}
	inActions := serviceEnv{get: func(name string) string {
		return map[string]string{"ACTIONS_RESULTS_URL": "https://results/", "ACTIONS_RUNTIME_TOKEN": "SECRET", "ACTIONS_CACHE_SERVICE_V2": "True"}[name]
	}}
	for _, test := range tests {
		places, warnings, err := readCachePlaces([]string{test.text}, test.to, inActions)
		got := fmt.Sprintf("%+v", places)
		said := strings.Join(warnings, "; ")
		if err != nil {
			said, got = err.Error(), ""
		}
		if !strings.Contains(got, test.want) || (test.want == "") != (err != nil) {
			t.Errorf("%q: %s, %v, want %s", test.text, got, err, test.want)
		}
		if !strings.Contains(said, test.says) || test.says == "" && said != "" {
			t.Errorf("%q: says %q, want %q", test.text, said, test.says)
		}
		if strings.Contains(strings.ReplaceAll(said, "AWS_SECRET_ACCESS_KEY", ""), "SECRET") {
			t.Errorf("%q: a value is in %q", test.text, said)
		}
	}
}

// The caches of commands lie beside that of steps, and nowhere else.
func TestPlacesOfMounts(t *testing.T) {
	t.Parallel()
	env := serviceEnv{get: func(name string) string { return map[string]string{"ACTIONS_RUNTIME_TOKEN": "t"}[name] }}
	for text, want := range map[string]string{
		"type=registry,ref=registry.example/app":                                        "registry.example/app:latest-mounts",
		"type=registry,ref=registry.example/app:c":                                      "registry.example/app:c-mounts",
		"type=registry,ref=localhost:5000/app":                                          "localhost:5000/app:latest-mounts",
		"type=local,dest=/a":                                                            "/a:latest-mounts",
		"type=local,dest=/a,tag=c":                                                      "/a:c-mounts",
		"type=gha,url_v2=https://x/":                                                    "type=gha,scope=oakum-mounts",
		"type=gha,url_v2=https://x/,scope=c":                                            "type=gha,scope=c-mounts",
		"type=s3,region=r,bucket=b,access_key_id=i,secret_access_key=k":                 "type=s3,bucket=b,prefix=,name=oakum-mounts",
		"type=s3,region=r,bucket=b,access_key_id=i,secret_access_key=k,prefix=p,name=c": "type=s3,bucket=b,prefix=p,name=c-mounts",
	} {
		places, _, err := readCachePlaces([]string{text + ",mounts=true"}, true, env)
		if err != nil || len(places) != 1 || places[0].mountsAt().String() != want {
			t.Errorf("%s: %+v, %v, want %s", text, places, err, want)
		}
	}
}

// The build argument that buildx takes for type=inline means that, in the words that it takes.
func TestInlineArgument(t *testing.T) {
	t.Setenv(inlineArgument, "1")
	text := func(s string) *string { return &s }
	for name, test := range map[string]struct {
		args map[string]*string
		want bool
	}{
		"not given":            {nil, false},
		"on":                   {map[string]*string{inlineArgument: text("1")}, true},
		"true":                 {map[string]*string{inlineArgument: text("true")}, true},
		"off":                  {map[string]*string{inlineArgument: text("0")}, false},
		"empty":                {map[string]*string{inlineArgument: text("")}, false},
		"no word for it":       {map[string]*string{inlineArgument: text("yes")}, false},
		"from the environment": {map[string]*string{inlineArgument: nil}, true},
	} {
		req := buildRequest{options: dockerfile.Options{BuildArgs: test.args}}
		readInlineArgument(&req)
		if req.options.Cache.Inline != test.want || len(req.warnings) > 0 {
			t.Errorf("%s: %t, %q", name, req.options.Cache.Inline, req.warnings)
		}
		req = buildRequest{options: dockerfile.Options{BuildArgs: test.args, Steps: dockerfile.Steps{CacheOnly: true}}}
		readInlineArgument(&req)
		if req.options.Cache.Inline || (len(req.warnings) == 1) != test.want {
			t.Errorf("%s, without an image: %t, %q", name, req.options.Cache.Inline, req.warnings)
		}
	}
}

// A command line that is for jobs of GitHub's is a build elsewhere, too, and says what is missing.
func TestCacheOfActionsElsewhere(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		env  map[string]string
		says string
	}{
		"no job":               {nil, "no ACTIONS_RUNTIME_TOKEN"},
		"a job of version 1":   {map[string]string{"ACTIONS_RUNTIME_TOKEN": "t", "ACTIONS_CACHE_URL": "https://x/", "ACTIONS_RESULTS_URL": "https://y/"}, "version 1"},
		"no URL":               {map[string]string{"ACTIONS_RUNTIME_TOKEN": "t"}, "no ACTIONS_RESULTS_URL"},
		"another server's job": {map[string]string{"ACTIONS_RUNTIME_TOKEN": "t", "ACTIONS_RESULTS_URL": "http://y/"}, ""},
	} {
		places, warnings, err := readCachePlaces([]string{"type=gha"}, false, serviceEnv{get: func(name string) string { return test.env[name] }})
		said := strings.Join(warnings, "; ")
		if err != nil || (len(places) == 1) != (test.says == "") || !strings.Contains(said, test.says) {
			t.Errorf("%s: %d caches, %q, %v", name, len(places), said, err)
		}
	}
}
