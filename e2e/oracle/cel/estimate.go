package main

import (
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	schemacel "k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel/model"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"k8s.io/apiserver/pkg/cel/environment"
)

// declared is the type of `self` in rules whose cost is estimated; tests/estimate.rs declares the same.
func declared() apiextensions.JSONSchemaProps {
	p := func(n int64) *int64 { return &n }
	text := func(max *int64) apiextensions.JSONSchemaProps {
		return apiextensions.JSONSchemaProps{Type: "string", MaxLength: max}
	}
	list := func(of apiextensions.JSONSchemaProps, max *int64) apiextensions.JSONSchemaProps {
		return apiextensions.JSONSchemaProps{Type: "array", MaxItems: max, Items: &apiextensions.JSONSchemaPropsOrArray{Schema: &of}}
	}
	named := apiextensions.JSONSchemaProps{Type: "object", Properties: map[string]apiextensions.JSONSchemaProps{"name": text(p(6))}}
	number := apiextensions.JSONSchemaProps{Type: "integer"}
	return apiextensions.JSONSchemaProps{Type: "object", Properties: map[string]apiextensions.JSONSchemaProps{
		"s": text(p(10)), "u": text(nil), "n": number, "b": {Type: "boolean"},
		"l": list(text(p(7)), p(5)), "o": list(named, p(4)), "i": list(number, p(6)),
		"m": {Type: "object", MaxProperties: p(3), AdditionalProperties: &apiextensions.JSONSchemaPropsOrBool{Schema: &number}},
	}}
}

// estimate gives the most that upstream thinks a rule on declared costs.
func estimate(base *environment.EnvSet, rule string) (uint64, string) {
	props := declared()
	props.XValidations = apiextensions.ValidationRules{{Rule: rule}}
	s, err := schema.NewStructural(&props)
	if err != nil {
		panic(err)
	}
	results, err := schemacel.Compile(s, model.SchemaDeclType(s, false), celconfig.PerCallLimit, base, schemacel.NewExpressionsEnvLoader())
	if err != nil {
		panic(err)
	}
	if results[0].Error != nil {
		return 0, results[0].Error.Error()
	}
	return results[0].MaxCost, ""
}
