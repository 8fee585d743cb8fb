// Prints, as JSON, what the schemas of KEDA, cert-manager and the Prometheus operator refuse in the resources on standard input.
import { readFileSync } from 'node:fs';

const packages = { 'keda.sh': 'keda', 'cert-manager.io': 'cert-manager', 'monitoring.coreos.com': 'prometheus-operator' };
const refused = [];
for (const resource of JSON.parse(readFileSync(0, 'utf8'))) {
  const { apiVersion, kind } = resource;
  const name = packages[apiVersion.split('/')[0]];
  const models = await import(`@kubernetes-models/${name}/${apiVersion}/${kind}`);
  try {
    new models[kind](resource).validate();
  } catch (error) {
    refused.push(`${kind} ${resource.metadata.name}: ${error.message}`);
  }
}
console.log(JSON.stringify(refused));
