//go:build containers_image_openpgp

package signatures

import (
	"context"
	"errors"
	"fmt"

	"go.podman.io/image/v5/signature"
	"go.podman.io/image/v5/types"

	"github.com/oakum-build/oakum/storage/internal/policy"
)

func init() { policy.Register(parse) }

// parse reads a rule that demands signatures.
func parse(rule []byte) (policy.Check, error) {
	p, err := signature.NewPolicyFromBytes(fmt.Appendf(nil, `{"default": [%s]}`, rule))
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, image types.UnparsedImage) error { return check(ctx, p, image) }, nil
}

// check asks one rule. What is read of the image is read before, and kept by it: so a registry that cannot be
// reached is told from an image that is refused, be it for want of a good signature or of a key. A context of
// containers/image serves one question at a time, so each has its own.
func check(ctx context.Context, p *signature.Policy, image types.UnparsedImage) error {
	if _, _, err := image.Manifest(ctx); err != nil {
		return err
	}
	if _, err := image.Signatures(ctx); err != nil {
		return fmt.Errorf("reading signatures: %w", err)
	}
	pc, err := signature.NewPolicyContext(p)
	if err != nil {
		return err
	}
	allowed, err := pc.IsRunningImageAllowed(ctx, image)
	if err == nil && !allowed {
		err = errors.New("it is not signed as it must be")
	}
	if err != nil {
		err = policy.RefusedError(err.Error())
	}
	return errors.Join(err, pc.Destroy())
}
