package main

import (
	"errors"

	"github.com/spf13/cobra"
	openapinamer "k8s.io/apiserver/pkg/endpoints/openapi"
	genericapiserver "k8s.io/apiserver/pkg/server"
	openapi "k8s.io/kubernetes/pkg/generated/openapi"
	"sigs.k8s.io/metrics-server/cmd/metrics-server/app/options"
	"sigs.k8s.io/metrics-server/pkg/api"
)

// newMetricsServer is the metrics server's own command but for one thing: its
// generated descriptions of types were made for an older Kubernetes, whose
// types had other names. Kubernetes' descriptions hold these types too.
func newMetricsServer() *cobra.Command {
	chosen := options.NewOptions()
	command := &cobra.Command{
		Use:          "metrics-server",
		SilenceUsage: true,
		RunE: func(*cobra.Command, []string) error {
			if err := errors.Join(chosen.Validate()...); err != nil {
				return err
			}
			config, err := chosen.ServerConfig()
			if err != nil {
				return err
			}
			names := openapinamer.NewDefinitionNamer(api.Scheme)
			config.Apiserver.OpenAPIConfig = genericapiserver.DefaultOpenAPIConfig(openapi.GetOpenAPIDefinitions, names)
			config.Apiserver.OpenAPIV3Config = genericapiserver.DefaultOpenAPIV3Config(openapi.GetOpenAPIDefinitions, names)
			server, err := config.Complete()
			if err != nil {
				return err
			}
			return server.RunUntil(genericapiserver.SetupSignalHandler())
		},
	}
	for _, set := range chosen.Flags().FlagSets {
		command.Flags().AddFlagSet(set)
	}
	return command
}
