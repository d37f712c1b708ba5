// Package policy reads policy.json, the file by which an administrator says which images may be
// used (containers-policy.json(5)), and asks it of images. What needs no key it decides itself:
// insecureAcceptAnything, reject, and which rules are for which image. Rules that demand signatures
// are checked by what a program has registered for them, as package storage/signatures does; in a
// program without it they refuse every image, with an error that names it.
package policy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"go.podman.io/image/v5/transports"
	"go.podman.io/image/v5/types"
	"go.podman.io/storage/pkg/configfile"
)

// A Policy is what a policy.json says. It does not change, and may be asked by several goroutines.
type Policy struct {
	fallback []rule
	scopes   map[string]map[string][]rule // by transport, and there by scope
}

// A rule is one requirement of the file.
type rule struct {
	kind  string
	check Check // nil where signatures are demanded and nothing is registered that checks them
}

// A Check decides whether an image fulfils a rule. An image that does not is a RefusedError, also where the
// key cannot be read; any other error says that the image could not be asked.
type Check func(ctx context.Context, image types.UnparsedImage) error

// RefusedError is an image that the policy does not allow, and says why.
type RefusedError string

func (e RefusedError) Error() string { return string(e) }

// UncheckedError is an image that has to be signed, in a program that checks no signatures.
type UncheckedError struct {
	Image string // with its transport
	Rule  string // the type of the rule
}

func (e *UncheckedError) Error() string {
	return fmt.Sprintf("the signature policy has the rule %s for %s, and this program checks no signatures: it does not import github.com/oakum-build/oakum/builder/signatures, or was built without the tag containers_image_openpgp", e.Rule, e.Image)
}

// Fix says what to do about it.
func (e *UncheckedError) Fix() string {
	return "use an oakum that was built with -tags containers_image_openpgp; in a program of your own also import github.com/oakum-build/oakum/builder/signatures"
}

// verifier makes checks of rules that demand signatures.
var verifier func(rule []byte) (Check, error)

// Register says how rules that demand signatures are checked. A rule is the JSON object of the file.
// It is called by init functions alone.
func Register(make func(rule []byte) (Check, error)) { verifier = make }

// Read reads the policy that sys names, or the one of CONTAINERS_POLICY_JSON, or that of the user or the
// machine. A machine without any accepts every image, as Docker does; one that is named must be there.
func Read(sys *types.SystemContext) (*Policy, error) {
	file := configfile.File{
		Name: "policy", Extension: "json", EnvironmentName: "CONTAINERS_POLICY_JSON",
		CustomConfigFilePath:         sys.SignaturePolicyPath,
		RootForImplicitAbsolutePaths: sys.RootForImplicitAbsolutePaths,
		DoNotLoadDropInFiles:         true,
	}
	p := &Policy{fallback: []rule{{kind: "insecureAcceptAnything", check: accept}}}
	for item, err := range configfile.Read(&file) {
		if err != nil {
			return nil, fmt.Errorf("reading the signature policy: %w", err)
		}
		text, err := io.ReadAll(item.Reader)
		if err == nil {
			p, err = parse(text, verifier)
		}
		if err != nil {
			return nil, fmt.Errorf("reading the signature policy %s: %w", item.Name, err)
		}
	}
	return p, nil
}

// Allow asks whether an image may be used, before anything of it is: nil says so. image is what
// image.UnparsedInstance gives, with the digest of the very manifest where there are several.
func (p *Policy) Allow(ctx context.Context, image types.UnparsedImage) error {
	for _, r := range p.rules(image.Reference()) {
		if r.check == nil {
			return &UncheckedError{Image: transports.ImageName(image.Reference()), Rule: r.kind}
		}
		if err := r.check(ctx, image); err != nil {
			return err
		}
	}
	return nil
}

// rules are those of the narrowest scope that ref is in, all of which must hold.
func (p *Policy) rules(ref types.ImageReference) []rule {
	scopes := p.scopes[ref.Transport().Name()]
	names := append([]string{ref.PolicyConfigurationIdentity()}, ref.PolicyConfigurationNamespaces()...)
	for _, name := range append(names, "") {
		if rules, ok := scopes[name]; ok {
			return rules
		}
	}
	return p.fallback
}

func accept(context.Context, types.UnparsedImage) error { return nil }

func reject(_ context.Context, image types.UnparsedImage) error {
	return RefusedError(fmt.Sprintf("it rejects %s", transports.ImageName(image.Reference())))
}

// parse reads a policy. What it does not know is an error: a rule that is misspelt must not be passed over.
func parse(text []byte, verifier func([]byte) (Check, error)) (*Policy, error) {
	p := &Policy{scopes: map[string]map[string][]rule{}}
	err := object(text, func(key string, value json.RawMessage) (err error) {
		switch key {
		case "default":
			p.fallback, err = parseRules(value, verifier)
			return err
		case "transports":
			return object(value, func(transport string, value json.RawMessage) error {
				p.scopes[transport], err = parseScopes(transport, value, verifier)
				return err
			})
		}
		return fmt.Errorf("unknown key %q", key)
	})
	if err == nil && p.fallback == nil {
		err = errors.New(`the key "default" is missing`)
	}
	return p, err
}

// parseScopes reads the rules for images of a transport. Names of scopes are checked where the transport is
// known here.
func parseScopes(transport string, text []byte, verifier func([]byte) (Check, error)) (map[string][]rule, error) {
	known := transports.Get(transport)
	scopes := map[string][]rule{}
	err := object(text, func(scope string, value json.RawMessage) (err error) {
		if known != nil && scope != "" {
			if err := known.ValidatePolicyConfigurationScope(scope); err != nil {
				return fmt.Errorf("scope %q of the transport %s: %w", scope, transport, err)
			}
		}
		scopes[scope], err = parseRules(value, verifier)
		return err
	})
	return scopes, err
}

func parseRules(text []byte, verifier func([]byte) (Check, error)) ([]rule, error) {
	var list []json.RawMessage
	if err := json.Unmarshal(text, &list); err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, errors.New("a list of rules is empty")
	}
	rules := make([]rule, len(list))
	for i, text := range list {
		var err error
		if rules[i], err = parseRule(text, verifier); err != nil {
			return nil, err
		}
	}
	return rules, nil
}

func parseRule(text []byte, verifier func([]byte) (Check, error)) (r rule, err error) {
	keys := 0
	err = object(text, func(key string, value json.RawMessage) error {
		keys++
		if key == "type" {
			return json.Unmarshal(value, &r.kind)
		}
		return nil
	})
	if err != nil {
		return r, err
	}
	switch r.kind {
	case "insecureAcceptAnything":
		r.check = accept
	case "reject":
		r.check = reject
	case "signedBy", "signedBaseLayer", "sigstoreSigned":
		if verifier != nil {
			r.check, err = verifier(text)
		}
		return r, err
	default:
		return r, fmt.Errorf("unknown type of a rule %q", r.kind)
	}
	if keys != 1 {
		err = fmt.Errorf("a rule %s has nothing beside its type", r.kind)
	}
	return r, err
}
