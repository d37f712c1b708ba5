package main

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"

	sending "github.com/oakum-build/oakum/builder/push"
)

func TestParseOutput(t *testing.T) {
	t.Chdir(t.TempDir())
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	high := 19
	for in, want := range map[string]output{
		"type=oci,dest=a.tar":                  {kind: "oci", dest: "a.tar"},
		"dest=a.tar,type=docker":               {kind: "docker", dest: "a.tar"},
		`type=oci,"dest=a,b=c.tar"`:            {kind: "oci", dest: "a,b=c.tar"},
		"type=oci,dest=dir/a=b.tar ":           {kind: "oci", dest: "dir/a=b.tar "},
		"type=oci,dest=a,tar=true":             {kind: "oci", dest: "a"},
		"type=docker":                          {kind: "docker"},
		"type=docker,name=a":                   {kind: "docker", names: []string{"a"}},
		"type=image":                           {kind: "image"},
		`type=image,"name=a,b",push=true`:      {kind: "image", names: []string{"a", "b"}, push: true},
		"type=image,name=a,push=0,unpack=true": {kind: "image", names: []string{"a"}},
		"type=registry,name=r.example/a":       {kind: "registry", names: []string{"r.example/a"}, push: true},
		"a.dir":                                {kind: "local", dest: "a.dir"},
		`"a,b"`:                                {kind: "local", dest: "a,b"},
		"-":                                    {kind: "tar", dest: "-"},
		"type=oci,dest=-":                      {kind: "oci", dest: "-"},
		"type=oci":                             {kind: "oci", dest: "-"},
		"type=tar":                             {kind: "tar", dest: "-"},
		"type=image,oci-mediatypes=true":       {kind: "image", format: "oci"},
		"type=docker,oci-mediatypes=0":         {kind: "docker", format: "docker"},
		"type=local,dest=a,platform-split=1":   {kind: "local", dest: "a", files: files{apart: true}},
		"type=oci,dest=a:b":                    {kind: "oci", dest: "a:b"},
		"type=oci,dest=a,tar=false":            {kind: "oci", dest: "a", layout: true},
		"type=oci,dest=a,compression=zstd,compression-level=19,force-compression=true": {kind: "oci", dest: "a", compression: sending.Compression{Algorithm: "zstd", Level: &high, Force: true}},
		"type=registry,name=a,push-by-digest=true":                                     {kind: "registry", names: []string{"a"}, push: true, byDigest: true},
		"type=docker,compression=uncompressed":                                         {kind: "docker", compression: sending.Compression{Algorithm: "uncompressed"}},
		"type=local,dest=a:b,mode=delete":                                              {kind: "local", dest: "a:b", files: files{mode: "delete"}},
		" Type=tar,dest=a:b,src=/x/*":                                                  {kind: "tar", dest: "a:b", files: files{src: "/x/*"}},
		"type=tar,dest=-,platform-split=false":                                         {kind: "tar", dest: "-", files: files{merged: true}},
		"type=cacheonly":                                                               {kind: "cacheonly"},
	} {
		if want.dest != "" && want.dest != "-" {
			want.dest = filepath.Join(dir, want.dest)
		}
		if got, err := parseOutput(in); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("parseOutput(%q) = %v, %v, want %v", in, got, err, want)
		}
	}
	for _, in := range []string{
		"", "a=b", "type=oci,tar=false", "type=oci,dest=", "dest=a", "type=tar,dest=", "type=local", "type=image,oci-mediatypes=oci", "type=local,dest=-", "type=cacheonly,dest=a", "type=tar,dest=a,push=true",
		"type=oci,dest=a:b,tar=false", "type=oci,dest=-,tar=false", "type=docker,dest=a,tar=false", "type=oci,dest=a,compression=lz4", "type=oci,dest=a,compression-level=high", "type=oci,dest=a,compression=zstd,compression-level=23", "type=docker,compression=gzip", "type=tar,dest=a,compression=gzip", "type=oci,dest=a,push-by-digest=true", `type=oci,"dest=a`, "type=cacheonly,name=a", "type=image,dest=a", "type=registry,push=false",
		"type=oci,dest=a,push=true", "type=image,push=maybe", "type=image,push-by-digest=maybe",
	} {
		var usage *usageError
		if got, err := parseOutput(in); !errors.As(err, &usage) {
			t.Errorf("parseOutput(%q) = %v, %v, want a usage error", in, got, err)
		}
	}
}

func TestArchiveName(t *testing.T) {
	names := []string{"localhost/old:latest", "localhost/app:latest", "localhost/app:2"}
	for tag, want := range map[string]string{
		"app":               "localhost/app:latest",
		"app:2":             "localhost/app:2",
		"localhost/app":     "localhost/app:latest",
		"localhost/app:2":   "localhost/app:2",
		"quay.io/other/app": "quay.io/other/app",
	} {
		if got := archiveName(tag, names); got != want {
			t.Errorf("archiveName(%q) = %q, want %q", tag, got, want)
		}
	}
}

func TestPullPolicy(t *testing.T) {
	for in, want := range map[string]string{
		"true": "always", "always": "always", "false": "",
		"missing": "", "never": "never", "newer": "newer",
	} {
		var p pullPolicy
		if err := p.Set(in); err != nil || string(p) != want {
			t.Errorf("--pull=%s: %q, %v, want %q", in, p, err, want)
		}
	}
	if err := new(pullPolicy).Set("sometimes"); err == nil {
		t.Error("--pull=sometimes is accepted")
	}
}

func TestKeyValues(t *testing.T) {
	got, err := keyValues("build-arg", []string{"A=1", "B=x=y,z", "C=", "D"})
	if err != nil || *got["A"] != "1" || *got["B"] != "x=y,z" || *got["C"] != "" || got["D"] != nil || len(got) != 4 {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := keyValues("build-arg", []string{"=1"}); exitCode(t.Context(), err) != exitUsage {
		t.Errorf("no name: %v", err)
	}
}

func TestEnvironment(t *testing.T) {
	t.Setenv("OAKUM_TEST_SET", "value")
	got, err := environment([]string{"A=1", "OAKUM_TEST_SET", "OAKUM_TEST_UNSET", "B="})
	if want := []string{"A=1", "OAKUM_TEST_SET=value", "B="}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%q, %v, want %q", got, err, want)
	}
}

func TestParseEntrypoint(t *testing.T) {
	for in, want := range map[string][]string{
		"": nil, "/bin/sh": {"/bin/sh"}, `["sh","-c"]`: {"sh", "-c"}, "[": {"["}, "a b": {"a b"},
	} {
		if got := parseEntrypoint(in); !slices.Equal(got, want) {
			t.Errorf("parseEntrypoint(%q) = %q, want %q", in, got, want)
		}
	}
}
