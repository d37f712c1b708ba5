//go:build linux

package input

import (
	"context"
	"crypto/sha256"
	"fmt"

	"github.com/oakum-build/oakum/builder/internal/gitrepo"
	"github.com/oakum-build/oakum/builder/internal/workspace"
)

// findGit asks the server for the commit, and fetches it unless the store has it.
func findGit(ctx context.Context, env Env, src *Source) (files, error) {
	ref, keep, err := gitRef(*src.Git)
	if err != nil {
		return nil, err
	}
	ref.Retry = env.Call.Retry
	ref = ref.Settle(ctx)
	found, err := ref.Resolve(ctx)
	if err != nil {
		return nil, err
	}
	content := fmt.Sprintf("%x", sha256.Sum256([]byte(found.Commit)))
	return fetched(ctx, env, src, Fetch{
		Key: gitKey(ref, keep), Content: content, Fresh: env.Call.Fresh,
		Make: func(ctx context.Context, _ func(string) bool, place workspace.Workspace) (string, error) {
			work, err := place.Temp()
			if err != nil {
				return "", err
			}
			return content, ref.Checkout(ctx, found, keep, work, place.Path())
		},
	})
}

// gitRef is the reference with what the source says beside it, and whether .git is kept.
func gitRef(g Git) (ref gitrepo.Ref, keep bool, err error) {
	if ref, err = gitrepo.Parse(g.Ref); err != nil {
		return ref, false, err
	}
	if err := checkAuthorization(g.Authorization, ref.Remote); err != nil {
		return ref, false, err
	}
	if err := gitrepo.CheckSum(g.Checksum); err != nil {
		return ref, false, err
	}
	keep = ref.KeepGitDir != nil && *ref.KeepGitDir
	if g.KeepGitDir != nil {
		if ref.KeepGitDir != nil && keep != *g.KeepGitDir {
			return ref, false, invalid("keep-git-dir is both %t and %t", keep, *g.KeepGitDir)
		}
		keep = *g.KeepGitDir
	}
	if g.Checksum != "" {
		if ref.Checksum != "" && ref.Checksum != g.Checksum {
			return ref, false, invalid("the checksum is both %s and %s", ref.Checksum, g.Checksum)
		}
		ref.Checksum = g.Checksum
	}
	ref.Authorization, ref.Agent = g.Authorization, g.Agent
	ref.CommitTime = ref.CommitTime || g.CommitTimes
	return ref, keep, nil
}
